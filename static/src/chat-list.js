// The side list of chats, by day, with their names to change and the way to delete them.

import { h, iconButton } from "./dom.js";
import { age, gettext } from "./i18n.js";

export class ChatList {
  /** `actions`: open(chat), rename(chat, title), remove(chat), more(). */
  constructor(root, actions) {
    Object.assign(this, { root, actions });
    this.renaming = null;
  }

  draw(chats, current, hasMore, isListed) {
    const key = JSON.stringify([chats.map((chat) => [chat.id, chat.title, chat.isBusy, age(chat.activeAt)]), current.id, hasMore, isListed]);
    if (this.renaming || key === this.drawn) return;
    this.drawn = key;
    const focused = document.activeElement?.closest?.(".chat-row")?.dataset.id;
    this.root.replaceChildren(...this.nodes(chats, current, hasMore, isListed));
    if (focused) this.root.querySelector(`[data-id="${focused}"] .chat-open`)?.focus();
  }

  nodes(chats, current, hasMore, isListed) {
    if (!chats.length) {
      return isListed ? [h("p", { class: "group", text: gettext("Your chats will stand here.") })] : [];
    }
    const groups = Map.groupBy ? Map.groupBy(chats, (chat) => age(chat.activeAt)) : group(chats);
    const nodes = [];
    for (const [heading, members] of groups) {
      nodes.push(h("h3", { class: "group", text: heading }), h("ul", { role: "list" }, members.map((chat) => this.row(chat, chat === current))));
    }
    if (hasMore) nodes.push(h("button", { type: "button", class: "button quiet small wide", text: gettext("Older chats"), onclick: () => this.actions.more() }));
    return nodes;
  }

  row(chat, isCurrent) {
    const row = h("li", { class: "chat-row", dataset: { id: chat.id, current: String(isCurrent) } });
    row.append(
      h(
        "button",
        { type: "button", class: "chat-open", title: chat.title, "aria-current": isCurrent ? "true" : null, onclick: () => this.actions.open(chat) },
        h("span", { text: chat.title }),
        chat.isBusy ? h("span", { class: "pulse", role: "img", "aria-label": gettext("An answer is being written") }) : null,
      ),
      h(
        "span",
        { class: "chat-tools" },
        iconButton("pencil", gettext("Rename"), () => this.rename(row, chat)),
        iconButton("trash", gettext("Delete"), () => this.actions.remove(chat)),
      ),
    );
    return row;
  }

  rename(row, chat) {
    this.renaming = chat;
    const input = h("input", { class: "input", maxlength: "120", "aria-label": gettext("Name of the chat") });
    input.value = chat.title;
    let isDone = false;
    const finish = (isKept) => {
      if (isDone) return;
      isDone = true;
      this.renaming = null;
      this.drawn = "";
      const title = input.value.trim();
      this.actions.rename(chat, isKept && title ? title : chat.title);
    };
    input.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter") finish(true);
      if (event.key === "Escape") {
        event.stopPropagation();
        finish(false);
      }
    });
    input.addEventListener("blur", () => finish(true));
    row.replaceChildren(input);
    input.focus();
    input.select();
  }
}

function group(chats) {
  const groups = new Map();
  for (const chat of chats) groups.set(age(chat.activeAt), [...(groups.get(age(chat.activeAt)) ?? []), chat]);
  return groups;
}
