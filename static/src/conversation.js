// Draws the messages of one chat, touching only what changed.

import { copy, h, icon, iconButton } from "./dom.js";
import { duration, gettext, interpolate, ngettext, number, tenth } from "./i18n.js";
import { Prose } from "./markdown.js";
import { explain } from "./problems.js";
import { RESUMABLE } from "./chats.js";

/** One message as it stands on the page. */
class MessageView {
  constructor(message, actions) {
    this.message = message;
    this.actions = actions;
    this.prose = message.role === "assistant" ? new Prose() : null;
    this.body = this.prose ? this.prose.root : h("div", { class: "body" });
    this.waiting = h("div", { class: "waiting", role: "img", "aria-label": gettext("The model is about to answer") }, h("i"), h("i"), h("i"));
    this.problem = h("div");
    this.meta = h("div", { class: "meta" });
    this.root = h(
      "article",
      { class: `message ${message.role}`, "aria-label": message.role === "user" ? gettext("You") : gettext("Answer") },
      this.waiting,
      this.body,
      this.problem,
      this.meta,
    );
  }

  draw(isLast) {
    const { message } = this;
    const key = `${message.revision}/${message.state}/${isLast}/${message.error?.code ?? ""}/${message.id}`;
    if (key === this.drawn) return;
    this.drawn = key;
    this.root.dataset.state = message.state;
    this.waiting.hidden = message.state !== "streaming" || Boolean(message.text);
    this.body.hidden = !message.text;
    if (this.prose) this.prose.update(message.text);
    else this.body.textContent = message.text;
    this.problem.replaceChildren(...this.problemNodes());
    this.meta.replaceChildren(...(message.state === "streaming" ? [] : this.metaNodes(isLast)));
    this.meta.hidden = message.state === "streaming" && message.role === "assistant" && !message.text;
  }

  problemNodes() {
    const { message } = this;
    if (message.state !== "failed" && message.error?.code !== "not_resumable") return [];
    const sentence = explain(message.error);
    const request = message.requestId || message.error?.request_id || message.request_id;
    return [
      h(
        "p",
        { class: "note bad" },
        icon("alert"),
        h("span", {}, sentence, request ? h("small", { class: "muted" }, " ", h("code", { text: request })) : null),
      ),
    ];
  }

  metaNodes(isLast) {
    const { message, actions } = this;
    const tools = h("span", { class: "tools" });
    if (message.text) {
      const button = iconButton("copy", gettext("Copy"), () => copy(message.text, button));
      tools.append(button);
    }
    if (message.role === "user") return tools.children.length ? [tools] : [];
    if (isLast) {
      tools.append(iconButton("again", gettext("Answer again"), () => actions.regenerate()));
      const canContinue = RESUMABLE.has(message.state) && message.text && message.canContinue !== false;
      if (canContinue) {
        const label = gettext("Continue");
        tools.append(h("button", { type: "button", class: "button quiet small", onclick: () => actions.resume(message) }, icon("forward"), label));
      }
    }
    return [tools, ...this.facts()];
  }

  facts() {
    const { state, usage = {}, timing = {}, attempts, finish_reason: reason } = this.message;
    const facts = [];
    if (state === "stopped") facts.push([gettext("Stopped")]);
    if (state === "interrupted") facts.push([gettext("Interrupted")]);
    if (reason === "length") facts.push([gettext("Cut at the most tokens allowed")]);
    if (attempts > 1) facts.push([interpolate(gettext("Answer %(count)s"), { count: attempts })]);
    const tokens = usage.completion_tokens;
    if (tokens) facts.push([interpolate(ngettext("%(count)s token", "%(count)s tokens", tokens), { count: number(tokens) })]);
    if (timing.first_token_ms !== undefined) {
      facts.push([interpolate(gettext("first after %(time)s"), { time: duration(timing.first_token_ms) }), gettext("Time to the first token")]);
    }
    if (timing.tokens_per_s) facts.push([interpolate(gettext("%(count)s tokens/s"), { count: tenth(timing.tokens_per_s) })]);
    return facts.map(([text, title]) => h("span", { class: "num", text, title }));
  }
}

/** The thread of the chat on the screen. `actions`: regenerate(), resume(message), earlier(), suggest(text). */
export class Conversation {
  constructor({ thread, stage, latest, actions, opening }) {
    Object.assign(this, { thread, stage, latest, actions, opening });
    this.views = new Map();
    this.isAtEnd = true;
    this.earlier = h("button", { type: "button", class: "button small earlier", onclick: () => this.loadEarlier() }, gettext("Earlier messages"));
    this.scrollTop = 0;
    stage.addEventListener("scroll", () => this.scrolled(), { passive: true });
    stage.addEventListener("wheel", (event) => this.turned(event), { passive: true });
    latest.addEventListener("click", () => this.toEnd());
    // A narrower window, a keyboard that comes up: who was at the end stays there.
    new ResizeObserver(() => this.isAtEnd && this.toEnd()).observe(stage);
  }

  /** Another chat, from its end. */
  show(chat) {
    if (this.chat !== chat) {
      this.chat = chat;
      this.views.clear();
      this.isAtEnd = true;
    }
    this.draw();
  }

  draw() {
    const { chat } = this;
    const isEmpty = chat.isLoaded && !chat.messages.length;
    const nodes = [];
    if (chat.hasEarlier) nodes.push(this.earlier);
    for (const message of chat.messages) {
      if (!this.views.has(message)) this.views.set(message, new MessageView(message, this.actions));
      const view = this.views.get(message);
      view.draw(message === chat.last);
      nodes.push(view.root);
    }
    for (const message of this.views.keys()) if (!chat.messages.includes(message)) this.views.delete(message);
    place(this.thread, nodes);
    this.opening.hidden = !isEmpty;
    this.thread.hidden = isEmpty;
    if (this.isAtEnd) this.stage.scrollTop = this.stage.scrollHeight;
    this.scrolled();
  }

  async loadEarlier() {
    const before = this.stage.scrollHeight - this.stage.scrollTop;
    await this.actions.earlier();
    this.stage.scrollTop = this.stage.scrollHeight - before;
  }

  /** A reader who moves up, however little, is not pulled down again by text that arrives; at the end they are. */
  scrolled() {
    const { stage } = this;
    const distance = stage.scrollHeight - stage.scrollTop - stage.clientHeight;
    if (distance < 2) this.isAtEnd = true;
    else if (stage.scrollTop < this.scrollTop) this.isAtEnd = false;
    this.scrollTop = stage.scrollTop;
    this.latest.hidden = this.isAtEnd || distance < 48;
  }

  turned(event) {
    if (event.deltaY < 0 && this.stage.scrollHeight > this.stage.clientHeight) this.isAtEnd = false;
  }

  toEnd() {
    this.isAtEnd = true;
    this.stage.scrollTo({ top: this.stage.scrollHeight });
    this.scrolled();
  }
}

/** Make `nodes` the children of `parent` without moving those that stand where they should. */
function place(parent, nodes) {
  nodes.forEach((node, at) => {
    if (parent.children[at] !== node) parent.insertBefore(node, parent.children[at] ?? null);
  });
  while (parent.children.length > nodes.length) parent.lastElementChild.remove();
}
