// The chats of this page: what the server has said about them, put together. No DOM in here.
//
// Text arrives in pieces that know where they belong: `offset` counts code points from the answer's beginning. A piece
// that begins before our end replaces what we have from there on, so a text is whole however often the connection broke.

export const length = (text) => {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
};

export const cut = (text, points) => (points >= text.length ? text : Array.from(text).slice(0, points).join(""));

export const newId = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
};

export const RESUMABLE = new Set(["interrupted", "stopped", "failed"]);

/** One message on the page. `received` counts the code points of `text`. */
export class Message {
  constructor(view) {
    Object.assign(this, { id: "", role: "assistant", text: "", state: "complete", model: "", attempts: 1 }, view);
    this.received = length(this.text);
    this.revision = 0;
  }

  static fromHistory(view) {
    const { message, content, error_code: errorCode, ...rest } = view;
    return new Message({ ...rest, id: message, text: content, error: errorCode ? { code: errorCode, message: "" } : null });
  }

  /** Take a piece of text; false when something before it is missing. */
  take(offset, text) {
    if (offset > this.received) return false;
    if (offset < this.received) this.text = cut(this.text, offset);
    this.text += text;
    this.received = offset + length(text);
    return this.touch();
  }

  cutTo(points) {
    if (points < this.received) {
      this.text = cut(this.text, points);
      this.received = points;
    }
    return this.touch();
  }

  touch() {
    this.revision += 1;
    return true;
  }
}

/** One chat. `id` is empty until the server has made it; `pending` is a question that has not been taken yet. */
export class Chat {
  constructor(view = {}) {
    this.id = "";
    this.title = "";
    this.model = "";
    this.system = "";
    this.params = {};
    this.activeAt = new Date().toISOString();
    this.messages = [];
    this.isLoaded = false;
    this.hasEarlier = false;
    this.draft = "";
    this.pending = null;
    this.problem = null;
    this.update(view);
  }

  update(view) {
    if (view.chat) this.id = view.chat;
    for (const name of ["title", "model", "system", "params"]) if (name in view) this[name] = view[name];
    if (view.active_at) this.activeAt = view.active_at;
  }

  get last() {
    return this.messages.at(-1) ?? null;
  }

  get isBusy() {
    return Boolean(this.pending) || this.last?.state === "streaming";
  }

  find(id) {
    return this.messages.find((message) => message.id === id) ?? null;
  }

  load(page, { earlier }) {
    const found = page.messages.map(Message.fromHistory);
    this.messages = earlier ? [...found, ...this.messages] : found;
    this.hasEarlier = page.has_more;
    this.isLoaded = true;
    this.update(page.chat);
  }

  /** A question goes out: it is on the page at once, its answer as a message without text. */
  ask(content, clientId) {
    this.pending = { type: "chat.send", clientId, content };
    this.problem = null;
    this.messages.push(new Message({ role: "user", text: content, clientId, created_at: new Date().toISOString() }));
    this.messages.push(new Message({ state: "streaming", clientId, model: this.model }));
    this.activeAt = new Date().toISOString();
  }

  /** The last question once more: the answer on the page makes room for the next one. */
  askAgain(clientId) {
    this.pending = { type: "chat.regenerate", clientId };
    this.problem = null;
    const attempts = (this.last.attempts ?? 1) + 1;
    this.messages[this.messages.length - 1] = new Message({ state: "streaming", clientId, model: this.model, attempts });
  }

  started(message) {
    const isPending = message.client_id && this.pending?.clientId === message.client_id;
    let answer = this.find(message.message);
    if (!answer) {
      answer = isPending ? this.messages.find((known) => known.clientId === message.client_id && known.role === "assistant") : null;
      if (!answer) {
        answer = new Message({});
        this.messages.push(answer);
      }
      answer.id = message.message;
    }
    if (isPending) this.pending = null;
    const place = this.messages.indexOf(answer);
    if (place > 0 && this.messages[place - 1].role === "user") this.messages[place - 1].id = message.question;
    Object.assign(answer, { state: "streaming", requestId: message.request_id, model: message.model, attempts: message.attempts, error: null });
    answer.cutTo(message.offset);
    if (message.title) this.title = message.title;
    return answer;
  }

  ended(message, state) {
    const answer = this.find(message.message);
    if (!answer) return null;
    Object.assign(answer, { state, usage: message.usage ?? {}, timing: message.timing ?? {}, finish_reason: message.finish_reason ?? "" });
    answer.touch();
    return answer;
  }

  /** An error about this chat. What the server never took comes back as the draft. */
  failed(error) {
    const answer = this.find(error.message_id) ?? (this.pending?.clientId === error.client_id && this.pending ? this.last : null);
    this.problem = error;
    if (this.pending && (!error.client_id || this.pending.clientId === error.client_id)) {
      const { type, content } = this.pending;
      this.pending = null;
      if (!error.message_id && type === "chat.send") {
        this.messages.splice(-2, 2);
        this.draft = this.draft || content;
        return null;
      }
    }
    if (answer) {
      const state = error.code === "not_resumable" ? "interrupted" : "failed";
      Object.assign(answer, { state, error, canContinue: error.code !== "not_resumable" });
      answer.touch();
    }
    return answer;
  }
}
