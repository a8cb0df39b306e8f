// One websocket to /ws/chat/ that comes back by itself. Emits: state, message, refused.

const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 8_000;
const PING_MS = 15_000;
const PONG_MS = 8_000;
// After these the server will not take us back without the person doing something.
const FINAL_CODES = new Set([4400, 4401, 4403]);

export class Socket extends EventTarget {
  constructor(path, subprotocol) {
    super();
    this.path = path;
    this.subprotocol = subprotocol;
    this.state = "connecting";
    this.wait = FIRST_WAIT_MS;
    this.lastError = null;
    window.addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.hurry());
  }

  connect() {
    clearTimeout(this.timer);
    this.become("connecting");
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}${this.path}`, [this.subprotocol]);
    this.socket = socket;
    socket.addEventListener("message", (event) => this.receive(socket, event));
    socket.addEventListener("close", (event) => this.closed(socket, event));
  }

  /** Send a message; false when there is no connection that has been admitted. */
  send(message) {
    if (this.state !== "open") return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  /** Try now instead of after the wait. */
  hurry() {
    if (this.state === "waiting") this.connect();
  }

  receive(socket, event) {
    if (socket !== this.socket) return;
    const message = JSON.parse(event.data);
    clearTimeout(this.pongTimer);
    if (message.type === "pong") return;
    if (message.type === "error") this.lastError = message;
    if (message.type === "ready") {
      this.wait = FIRST_WAIT_MS;
      this.lastError = null;
      this.beat(socket);
      this.become("open");
    }
    this.dispatchEvent(new CustomEvent("message", { detail: message }));
  }

  // A connection that died without a word shows only by silence.
  beat(socket) {
    clearInterval(this.pingTimer);
    this.pingTimer = setInterval(() => {
      if (socket.readyState !== WebSocket.OPEN) return;
      socket.send('{"type":"ping"}');
      clearTimeout(this.pongTimer);
      this.pongTimer = setTimeout(() => {
        socket.close();
        this.closed(socket, { code: 1006 });
      }, PONG_MS);
    }, PING_MS);
  }

  closed(socket, event) {
    if (socket !== this.socket) return;
    this.socket = null;
    clearInterval(this.pingTimer);
    clearTimeout(this.pongTimer);
    if (FINAL_CODES.has(event.code)) {
      this.become("refused");
      this.dispatchEvent(new CustomEvent("refused", { detail: this.lastError }));
      return;
    }
    this.become("waiting");
    // Spread, so that a restarted server is not met by everyone in the same moment.
    this.timer = setTimeout(() => this.connect(), this.wait * (0.7 + Math.random() * 0.6));
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
  }

  become(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}
