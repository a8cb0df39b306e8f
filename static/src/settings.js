// The panel of settings: model, system prompt, parameters; and what the chat has used.

import { h } from "./dom.js";
import { gettext, interpolate, number } from "./i18n.js";

const $ = (id) => document.getElementById(id);
const SETTLE_MS = 400; // of typing, before a change goes to the server

export class Settings {
  constructor({ changed }) {
    this.changed = changed;
    this.contexts = new Map();
    for (const option of $("model").options) this.contexts.set(option.value, Number(option.dataset.context) || null);
    $("model").addEventListener("change", () => this.tell({ model: this.model }));
    $("system").addEventListener("input", () => this.tell({ system: $("system").value }, SETTLE_MS));
    $("temperature").addEventListener("input", () => {
      $("temperature-value").value = $("temperature").value;
      this.tell({ params: this.params() }, SETTLE_MS);
    });
    $("temperature-value").addEventListener("input", () => {
      $("temperature").value = $("temperature-value").value || "1";
      this.tell({ params: this.params() }, SETTLE_MS);
    });
    $("max-tokens").addEventListener("input", () => this.tell({ params: this.params() }, SETTLE_MS));
  }

  get model() {
    return $("model").value;
  }

  /** The models that may be called, as the server has them now; null: as the page came. */
  offer(models) {
    if (!models) return;
    const chosen = this.model;
    this.contexts = new Map(models.map((model) => [model.name, model.context_length]));
    $("model").replaceChildren(...models.map((model) => h("option", { value: model.name, text: model.name })));
    if (this.contexts.has(chosen)) $("model").value = chosen;
    this.shown = null;
  }

  /** The fields as parameters; what is out of bounds is left to the engine's default. */
  params() {
    const params = {};
    for (const [field, name] of [["temperature-value", "temperature"], ["max-tokens", "max_tokens"]]) {
      const input = $(field);
      if (input.value !== "" && input.validity.valid) params[name] = Number(input.value);
    }
    return params;
  }

  /** A slider always has a place; dimmed, it says that the place is the engine's default. */
  markUnset() {
    $("temperature").dataset.unset = String($("temperature-value").value === "");
  }

  tell(changes, wait = 0) {
    this.markUnset();
    clearTimeout(this.timer);
    this.unsent = { ...this.unsent, ...changes };
    this.timer = setTimeout(() => this.flush(), wait);
  }

  flush() {
    clearTimeout(this.timer);
    const changes = this.unsent;
    this.unsent = null;
    if (changes) this.changed(changes);
  }

  show(chat) {
    if (this.shown !== chat) {
      this.shown = chat;
      this.fill(chat);
    }
    this.showTotals(chat);
  }

  fill(chat) {
    if (chat.model && this.contexts.has(chat.model)) $("model").value = chat.model;
    else if (!chat.id) chat.model = this.model;
    $("system").value = chat.system;
    $("temperature-value").value = chat.params.temperature ?? "";
    $("temperature").value = chat.params.temperature ?? 1;
    $("max-tokens").value = chat.params.max_tokens ?? "";
    this.markUnset();
  }

  showTotals(chat) {
    const context = this.contexts.get(this.model);
    $("model-help").textContent = context ? interpolate(gettext("Reads up to %(count)s tokens at once."), { count: number(context) }) : "";
    const answers = chat.messages.filter((message) => message.usage?.completion_tokens);
    const sum = (name) => answers.reduce((total, message) => total + (message.usage[name] ?? 0), 0);
    const last = answers.at(-1)?.usage;
    const rows = [[gettext("Tokens written"), number(sum("completion_tokens"))]];
    // An answer that was stopped has no count of what was read.
    if (sum("prompt_tokens")) rows.unshift([gettext("Tokens read"), number(sum("prompt_tokens"))]);
    if (context && last?.total_tokens) rows.push([gettext("Context in use"), `${number(last.total_tokens)} / ${number(context)}`]);
    $("totals").replaceChildren(
      ...(answers.length ? rows.map(([name, value]) => h("div", {}, h("dt", { text: name }), h("dd", { class: "num", text: value }))) : []),
    );
    $("totals").hidden = !answers.length;
  }
}
