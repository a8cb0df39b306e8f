// The playground: brings socket, chats and page together.

import { Chat, newId } from "./chats.js";
import { ChatList } from "./chat-list.js";
import { Conversation } from "./conversation.js";
import { h, icon } from "./dom.js";
import { gettext } from "./i18n.js";
import { explain } from "./problems.js";
import { Settings } from "./settings.js";
import { Socket } from "./socket.js";

const PATH = "/ws/chat/";
const SUBPROTOCOL = "atrium.chat.v1";
// An answer that another window writes shows by asking for it again, this often.
const LOOK_AGAIN_MS = 1_500;
const SHOW_TROUBLE_AFTER_MS = 1_200;
// After "too many messages", questions that were not taken are sent once more.
const SETTLE_MS = 2_000;

const $ = (id) => document.getElementById(id);
const page = $("playground");
const question = $("question");
const socket = new Socket(PATH, SUBPROTOCOL);
const chats = new Map(); // by id
const creating = new Map(); // client id of chat.create -> chat
const waiting = new Map(); // chat id -> those who wait for its history
let current = new Chat();
let cursor = "";
let isListed = false;

// --- What was being written in this tab when it was reloaded -------------------------------------------------------

const unfinished = {
  key: `atrium.unfinished.${page.dataset.tenant}`,
  read: () => new Set(JSON.parse(sessionStorage.getItem(unfinished.key) ?? "[]")),
  write() {
    const ids = [...chats.values()].filter((chat) => chat.last?.state === "streaming" && !chat.last.isElsewhere).map((chat) => chat.id);
    sessionStorage.setItem(unfinished.key, JSON.stringify(ids));
  },
};
const cutOff = unfinished.read();

// --- The page ------------------------------------------------------------------------------------------------------

const ideas = [
  gettext("What is Atrium?"),
  gettext("How do I make an API key?"),
  gettext("What does an alias do?"),
  gettext("How are tenants kept apart?"),
];

const opening = h(
  "div",
  { class: "opening", hidden: true },
  icon("mark", "mark"),
  h("h2", { text: gettext("What would you like to know?") }),
  h("p", { text: gettext("What you write here stays in this tenant and is shown to nobody else in it.") }),
  h(
    "div",
    { class: "ideas" },
    ideas.map((idea) => h("button", { type: "button", text: idea, onclick: () => ask(idea) })),
  ),
);
$("stage").prepend(opening);

const conversation = new Conversation({
  thread: $("thread"),
  stage: $("stage"),
  latest: $("latest"),
  opening,
  actions: { regenerate, resume, earlier: () => loadHistory(current, current.messages[0]?.ordinal) },
});

const list = new ChatList($("chat-list"), {
  open: (chat) => open(chat),
  rename: (chat, title) => {
    chat.title = title;
    socket.send({ type: "chat.update", chat: chat.id, title });
    draw();
  },
  remove: async (chat) => {
    if (await isConfirmed()) socket.send({ type: "chat.delete", chat: chat.id });
  },
  more: () => socket.send({ type: "chat.list", before: cursor }),
});

const settings = new Settings({
  changed: (changes) => {
    current.update(changes);
    if (current.id) socket.send({ type: "chat.update", chat: current.id, ...changes });
  },
});

function isConfirmed() {
  const dialog = $("confirm");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

let isDrawn = true;

/** Draw once before the next frame, however much has changed until then. */
function draw() {
  if (!isDrawn) return;
  isDrawn = false;
  requestAnimationFrame(() => {
    isDrawn = true;
    drawNow();
  });
}

function drawNow() {
  const shown = [...chats.values()].filter((chat) => chat.title);
  list.draw(shown.sort((a, b) => (a.activeAt < b.activeAt ? 1 : -1)), current, cursor !== "", isListed);
  conversation.show(current);
  $("chat-title").textContent = current.title || gettext("New chat");
  settings.show(current);
  const isBusy = current.isBusy && !current.last?.isElsewhere;
  $("send").hidden = isBusy;
  $("stop").hidden = !isBusy;
  $("send").disabled = !question.value.trim() || current.isBusy || !settings.model || socket.state === "refused";
  page.dataset.busy = String(isBusy);
}

function announce(sentence) {
  $("announcer").textContent = sentence;
}

function showBanner(kind, sentence, action) {
  $("banner").replaceChildren(
    ...(sentence ? [h("div", { class: `note ${kind}` }, icon("alert"), h("span", { text: sentence }), action)] : []),
  );
}

// --- Asking --------------------------------------------------------------------------------------------------------

function ask(text) {
  const content = text.trim();
  settings.flush();
  if (!content || current.isBusy || !settings.model) return;
  current.model = current.model || settings.model;
  current.ask(content, newId());
  current.draft = "";
  if (socket.state === "open") showBanner();
  question.value = "";
  resize();
  transmit(current);
  conversation.toEnd();
  draw();
}

/** Hand the chat's pending question to the server; without a connection it goes when there is one again. */
function transmit(chat) {
  const { type, clientId, content } = chat.pending;
  if (!chat.id) {
    const createId = newId();
    creating.set(createId, chat);
    socket.send({ type: "chat.create", client_id: createId, model: chat.model, system: chat.system, params: chat.params });
    return;
  }
  const message = { type, chat: chat.id, client_id: clientId, model: chat.model, params: chat.params };
  if (type === "chat.send") message.content = content;
  socket.send(message);
}

function transmitPending() {
  for (const chat of new Set([current, ...chats.values()])) if (chat.pending) transmit(chat);
}

function regenerate() {
  if (current.isBusy) return;
  current.askAgain(newId());
  transmit(current);
  draw();
}

function resume(message, chat = current) {
  message.state = "streaming";
  message.isElsewhere = false;
  message.error = null;
  message.touch();
  socket.send({ type: "chat.resume", chat: chat.id, message: message.id, received: message.received });
  draw();
}

// --- Chats ---------------------------------------------------------------------------------------------------------

function open(chat) {
  settings.flush();
  current.draft = question.value;
  current = chat;
  question.value = chat.draft;
  resize();
  showAddress();
  closeSheets();
  if (chat.id && !chat.isLoaded) loadHistory(chat);
  if (!chat.id) chat.isLoaded = true;
  draw();
  if (matchMedia("(hover: hover)").matches) question.focus();
}

function newChat() {
  if (!current.id && !current.messages.length) return open(current);
  const { model, params, system } = current;
  return open(new Chat({ model, params: { ...params }, system }));
}

function showAddress() {
  const address = new URL(location.href);
  if (current.id) address.searchParams.set("chat", current.id);
  else address.searchParams.delete("chat");
  history.replaceState(null, "", address);
}

/** Messages of a chat, the newest or those before a position; settles when they are there. */
function loadHistory(chat, before = null) {
  const message = { type: "chat.history", chat: chat.id };
  if (before !== null) message.before = before;
  if (!socket.send(message)) return Promise.resolve();
  return new Promise((resolve) => {
    waiting.set(chat.id, [...(waiting.get(chat.id) ?? []), { resolve, earlier: before !== null }]);
  });
}

// --- What the server says ------------------------------------------------------------------------------------------

const hear = {
  ready(message) {
    settings.offer(message.models);
    socket.send({ type: "chat.list" });
    transmitPending();
    for (const chat of chats.values()) {
      if (!chat.pending && chat.last?.state === "streaming" && chat.last.id && !chat.last.isElsewhere) resume(chat.last, chat);
    }
    const wanted = new URL(location.href).searchParams.get("chat");
    if (wanted && !current.id && !current.messages.length) {
      const chat = chats.get(wanted) ?? new Chat({ chat: wanted });
      chats.set(wanted, chat);
      open(chat);
    } else if (current.id && !current.isLoaded) loadHistory(current);
    else if (!current.id) current.isLoaded = true;
  },

  "chat.list"(message) {
    isListed = true;
    cursor = message.next;
    for (const view of message.chats) {
      const known = chats.get(view.chat);
      if (known) known.update(view);
      else chats.set(view.chat, new Chat(view));
    }
  },

  "chat.created"(message) {
    const chat = creating.get(message.client_id);
    creating.delete(message.client_id);
    if (!chat || chat.id) return;
    chat.update(message.chat);
    chat.isLoaded = true;
    chats.set(chat.id, chat);
    if (chat === current) showAddress();
    if (chat.pending) transmit(chat);
  },

  "chat.updated"(message) {
    chats.get(message.chat.chat)?.update(message.chat);
  },

  "chat.deleted"(message) {
    const chat = chats.get(message.chat);
    chats.delete(message.chat);
    if (chat === current) {
      current = new Chat();
      open(current);
    }
    announce(gettext("The chat has been deleted."));
  },

  "chat.history"(message) {
    const id = message.chat.chat;
    const chat = chats.get(id);
    const [asked, ...others] = waiting.get(id) ?? [];
    waiting.set(id, others);
    if (!chat) return;
    if (!chat.pending) chat.load(message, { earlier: asked?.earlier ?? false });
    goOnOrLookAgain(chat);
    conversation.chat === chat && conversation.draw();
    asked?.resolve();
  },

  "chat.started"(message) {
    chats.get(message.chat)?.started(message);
    unfinished.write();
  },

  "chat.delta"(message) {
    const answer = chats.get(message.chat)?.find(message.message);
    if (answer && !answer.take(message.offset, message.text)) loadHistory(chats.get(message.chat));
  },

  "chat.completed"(message) {
    chats.get(message.chat)?.ended(message, "complete");
    unfinished.write();
    if (message.chat === current.id) announce(gettext("The answer is complete."));
  },

  "chat.stopped"(message) {
    chats.get(message.chat)?.ended(message, "stopped");
    unfinished.write();
    if (message.chat === current.id) announce(gettext("The answer has been stopped."));
  },

  error(received) {
    const unmade = creating.get(received.client_id);
    creating.delete(received.client_id);
    // A chat that could not be made fails the question that it was wanted for.
    const message = unmade ? { ...received, client_id: unmade.pending?.clientId ?? "" } : received;
    const chat = unmade ?? chats.get(message.chat);
    if (!chat) {
      showBanner("bad", explain(message));
      if (message.code === "rate_limited") setTimeout(transmitPending, SETTLE_MS);
      return;
    }
    if (message.code === "continued_elsewhere") {
      const answer = chat.find(message.message_id);
      if (answer) answer.isElsewhere = true;
      goOnOrLookAgain(chat);
      return;
    }
    if (message.code === "not_found" && !chat.messages.length) {
      chats.delete(chat.id);
      open(new Chat());
    }
    const answer = chat.failed(message);
    unfinished.write();
    if (chat !== current) return;
    if (!answer) {
      question.value = question.value || chat.draft;
      resize();
      showBanner("bad", explain(message));
    }
    announce(explain(message));
  },
};

/** After a history: an answer cut off by our own reload goes on; one that another window writes is looked at again. */
function goOnOrLookAgain(chat) {
  const answer = chat.last;
  if (!answer || answer.role !== "assistant" || chat.pending) return;
  if (cutOff.has(chat.id) && ["streaming", "interrupted"].includes(answer.state)) {
    cutOff.delete(chat.id);
    resume(answer, chat);
  } else if (answer.state === "streaming") {
    answer.isElsewhere = true;
    setTimeout(() => chat === current && chat.last?.isElsewhere && loadHistory(chat), LOOK_AGAIN_MS);
  }
}

socket.addEventListener("message", ({ detail }) => {
  hear[detail.type]?.(detail);
  draw();
});

let trouble;

socket.addEventListener("state", ({ detail: state }) => {
  const words = {
    open: gettext("Connected"),
    connecting: gettext("Connecting…"),
    waiting: gettext("Reconnecting…"),
    refused: gettext("Not connected"),
  };
  $("link-state").dataset.state = state;
  $("link-state").lastElementChild.textContent = words[state];
  clearTimeout(trouble);
  if (state === "open") showBanner();
  if (state === "waiting") {
    trouble = setTimeout(
      () => showBanner("warn", gettext("The connection is lost. What is being written goes on as soon as it is back.")),
      SHOW_TROUBLE_AFTER_MS,
    );
  }
  draw();
});

socket.addEventListener("refused", ({ detail: error }) => {
  const reload = h("button", { type: "button", class: "button small", onclick: () => location.reload(), text: gettext("Reload") });
  showBanner("bad", explain(error), reload);
  for (const chat of chats.values()) if (chat.last?.state === "streaming") chat.last.state = "interrupted";
});

// --- What the person does ------------------------------------------------------------------------------------------

/** As high as its text; browsers that know `field-sizing` do it by themselves. */
function resize() {
  if (CSS.supports("field-sizing", "content")) return;
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight}px`;
}

question.addEventListener("input", () => {
  resize();
  draw();
});

question.addEventListener("keydown", (event) => {
  // While an input method composes (Chinese, Japanese …), Enter chooses a word and must not send.
  if (event.isComposing || event.keyCode === 229) return;
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    ask(question.value);
  }
  if (event.key === "Escape") stop();
});

function stop() {
  if (current.isBusy && current.id) socket.send({ type: "chat.stop", chat: current.id });
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  ask(question.value);
});
$("stop").addEventListener("click", stop);
$("new-chat").addEventListener("click", newChat);

// --- Sheets of narrow screens --------------------------------------------------------------------------------------

const sheetIsWide = matchMedia("(min-width: 80.01rem)");

function showSettings(isShown) {
  $("settings").hidden = !isShown;
  $("settings-toggle").setAttribute("aria-expanded", String(isShown));
  document.body.classList.toggle("sheet-open", isShown && !sheetIsWide.matches);
}

function showList(isShown) {
  document.body.classList.toggle("list-open", isShown);
  $("list-toggle").setAttribute("aria-expanded", String(isShown));
}

function closeSheets() {
  showList(false);
  if (!sheetIsWide.matches) showSettings(false);
}

$("settings-toggle").addEventListener("click", () => showSettings($("settings").hidden));
$("settings-close").addEventListener("click", () => {
  showSettings(false);
  $("settings-toggle").focus();
});
$("list-toggle").addEventListener("click", () => showList(true));
document.querySelector("[data-veil]").addEventListener("click", closeSheets);
document.addEventListener("keydown", (event) => event.key === "Escape" && closeSheets());
sheetIsWide.addEventListener("change", () => showSettings(sheetIsWide.matches));

showSettings(sheetIsWide.matches);
settings.offer(null);
socket.connect();
drawNow();
