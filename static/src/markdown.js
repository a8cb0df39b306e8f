// A small subset of Markdown, as nodes. SECURITY: what a model says is untrusted. Everything is made by DOM methods,
// nothing is ever parsed as HTML, links go to http(s) and mail only, and images are not loaded at all.

import { h, icon } from "./dom.js";
import { gettext } from "./i18n.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.+?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const ITEM = /^(\s*)(?:([-*+])|(\d{1,9})[.)])\s+(.*)$/;
const TABLE_RULE = /^ {0,3}\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;
const DEEPEST = 6; // of quotes and lists inside each other

/** The text cut into top-level blocks, each with the source that it came from: { kind, source, … }. */
export function blocks(text, depth = 0) {
  const lines = text.split("\n");
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const begin = at;
    const [block, next] = oneBlock(lines, at, depth);
    at = next;
    found.push({ ...block, source: lines.slice(begin, at).join("\n") });
  }
  return found;
}

function oneBlock(lines, at, depth) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) return codeBlock(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading) return [{ kind: "heading", level: heading[1].length, text: heading[2] }, at + 1];
  if (RULE.test(line)) return [{ kind: "rule" }, at + 1];
  if (depth < DEEPEST && QUOTE.test(line)) return quoteBlock(lines, at);
  if (depth < DEEPEST && ITEM.test(line)) return listBlock(lines, at);
  if (line.includes("|") && TABLE_RULE.test(lines[at + 1] ?? "") && lines[at + 1].includes("-")) return tableBlock(lines, at);
  return paragraph(lines, at);
}

function codeBlock(lines, at, fence) {
  const [, mark, language] = fence;
  const body = [];
  let next = at + 1;
  const isEnd = (line) => line.trim().startsWith(mark) && !line.trim().slice(mark.length).replaceAll(mark[0], "");
  while (next < lines.length && !isEnd(lines[next])) body.push(lines[next++]);
  return [{ kind: "code", language, text: body.join("\n") }, Math.min(next + 1, lines.length)];
}

function quoteBlock(lines, at) {
  const body = [];
  let next = at;
  for (; next < lines.length && QUOTE.test(lines[next]); next += 1) body.push(QUOTE.exec(lines[next])[1]);
  return [{ kind: "quote", text: body.join("\n") }, next];
}

function listBlock(lines, at) {
  const [, , bullet, first] = ITEM.exec(lines[at]);
  const items = [];
  let indent = 0;
  let next = at;
  for (; next < lines.length; next += 1) {
    const line = lines[next];
    const item = ITEM.exec(line);
    const margin = /^\s*/.exec(line)[0].length;
    if (item && (!items.length || margin < indent)) {
      // A marker of the other kind on this level begins another list.
      if (items.length && Boolean(item[2]) !== Boolean(bullet)) break;
      indent = line.length - item[4].length;
      items.push([item[4]]);
    } else if (items.length && (margin >= indent || (!line.trim() && nextBelongs(lines, next + 1, indent)))) {
      items.at(-1).push(line.slice(Math.min(margin, indent)));
    } else if (items.length && line.trim() && !startsBlock(line) && lines[next - 1].trim()) {
      items.at(-1).push(line.trim());
    } else break;
  }
  return [{ kind: "list", ordered: !bullet, start: Number(first ?? 1), items: items.map((item) => item.join("\n")) }, next];
}

function nextBelongs(lines, at, indent) {
  while (at < lines.length && !lines[at].trim()) at += 1;
  if (at >= lines.length) return false;
  return /^\s*/.exec(lines[at])[0].length >= indent || ITEM.test(lines[at]);
}

function tableBlock(lines, at) {
  const head = cells(lines[at]);
  const rows = [];
  let next = at + 2;
  for (; next < lines.length && lines[next].includes("|") && lines[next].trim(); next += 1) rows.push(cells(lines[next]));
  return [{ kind: "table", head, rows }, next];
}

function cells(line) {
  return line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
}

function startsBlock(line) {
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line);
}

function paragraph(lines, at) {
  const body = [lines[at]];
  let next = at + 1;
  while (next < lines.length && lines[next].trim() && !startsBlock(lines[next])) body.push(lines[next++]);
  return [{ kind: "paragraph", text: body.join("\n").trim() }, next];
}

/** The element of one block. */
export function element(block, depth = 0) {
  switch (block.kind) {
    case "heading":
      // One below the page's own headings, so that the outline of the page stays in order.
      return h(`h${Math.min(block.level + 1, 6)}`, {}, inline(block.text));
    case "rule":
      return h("hr");
    case "code":
      return code(block);
    case "quote":
      return h("blockquote", {}, blocks(block.text, depth + 1).map((inner) => element(inner, depth + 1)));
    case "list":
      return h(
        block.ordered ? "ol" : "ul",
        block.ordered && block.start !== 1 ? { start: block.start } : {},
        block.items.map((item) => h("li", {}, itemContent(item, depth + 1))),
      );
    case "table":
      return table(block);
    default:
      return h("p", {}, inline(block.text));
  }
}

function itemContent(item, depth) {
  const inner = blocks(item, depth);
  // A single paragraph needs no <p> of its own: the list stays tight.
  return inner.map((block, place) => (place === 0 && block.kind === "paragraph" ? inline(block.text) : element(block, depth))).flat();
}

function code(block) {
  return h(
    "figure",
    { class: "code" },
    h(
      "header",
      {},
      h("span", { text: block.language || gettext("Code") }),
      h("button", { type: "button", class: "button quiet small", "data-copy": "" }, icon("copy"), h("span", { text: gettext("Copy") })),
    ),
    h("pre", { tabindex: "0" }, h("code", { text: block.text })),
  );
}

function table(block) {
  const row = (tag, line) => h("tr", {}, block.head.map((_, place) => h(tag, {}, inline(line[place] ?? ""))));
  return h(
    "div",
    { class: "table", tabindex: "0" },
    h("table", {}, h("thead", {}, row("th", block.head)), h("tbody", {}, block.rows.map((line) => row("td", line)))),
  );
}

// Each alternative is linear: none can be matched in two ways from one place, so no text makes them slow.
const INLINE =
  /(`+)([^`\n]+)\1(?!`)|\*\*([^*\n]+(?:\*(?!\*)[^*\n]+)*)\*\*|\*([^*\s\n](?:[^*\n]*[^*\s\n])?)\*|(?<![\w_])_([^_\s\n](?:[^_\n]*[^_\s\n])?)_(?![\w_])|~~([^~\n]+)~~|\[([^\]\n]{1,500})\]\(([^()\s]{1,2000})\)|(https?:\/\/[^\s<>"'()\[\]{}，。；：！？、）】》]{1,2000})/g;

/** The nodes of a line of text with its emphasis, code and links. */
export function inline(text, depth = 0) {
  const nodes = [];
  let end = 0;
  if (depth < DEEPEST) {
    for (const match of text.matchAll(INLINE)) {
      if (match.index > end) nodes.push(text.slice(end, match.index));
      nodes.push(...marked(match, depth));
      end = match.index + match[0].length;
    }
  }
  if (end < text.length) nodes.push(text.slice(end));
  return nodes;
}

function marked(match, depth) {
  const [whole, , codeText, strong, star, underscore, deleted, label, target, bare] = match;
  if (codeText !== undefined) return [h("code", { text: codeText.trim() || codeText })];
  if (strong !== undefined) return [h("strong", {}, inline(strong, depth + 1))];
  if (star !== undefined || underscore !== undefined) return [h("em", {}, inline(star ?? underscore, depth + 1))];
  if (deleted !== undefined) return [h("del", {}, inline(deleted, depth + 1))];
  if (bare !== undefined) {
    const address = bare.replace(/[.,;:!?]+$/, "");
    return [link(address, [address]) ?? address, bare.slice(address.length)].filter(Boolean);
  }
  return [link(target, inline(label, depth + 1)) ?? whole];
}

/** A link that opens outside and tells nobody where it came from; null when the address is not one to follow. */
function link(target, content) {
  let address;
  try {
    address = new URL(target);
  } catch {
    return null;
  }
  if (!["http:", "https:", "mailto:"].includes(address.protocol)) return null;
  return h("a", { href: address.href, target: "_blank", rel: "noopener noreferrer nofollow", referrerpolicy: "no-referrer" }, content);
}

/** Draws a text that grows into one element, touching only the blocks that changed. */
export class Prose {
  constructor() {
    this.root = h("div", { class: "prose" });
    this.sources = [];
  }

  update(text) {
    const wanted = blocks(text);
    wanted.forEach((block, place) => {
      if (this.sources[place] === block.source) return;
      const fresh = element(block);
      const old = this.root.children[place];
      if (old) old.replaceWith(fresh);
      else this.root.append(fresh);
      this.sources[place] = block.source;
    });
    while (this.root.children.length > wanted.length) this.root.lastChild.remove();
    this.sources.length = wanted.length;
  }
}
