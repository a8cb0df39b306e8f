// Building the page by DOM methods only: text is always text, whatever a model or a person wrote into it.

/** An element. `props`: attributes; `on…` listeners; `text` content; `dataset`; true and false for flags. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** One icon of the sprite; decorative. */
export function icon(name, className = "icon") {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", className);
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `${document.body.dataset.icons}#${name}`);
  svg.append(use);
  return svg;
}

/** A small button that shows an icon; `label` is its name for everyone. */
export function iconButton(name, label, onclick, className = "button quiet square small") {
  return h("button", { type: "button", class: className, title: label, "aria-label": label, onclick }, icon(name));
}

/** Copy text, and say so on the button for a moment. Without the clipboard API (plain http) by a selection. */
export async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "sr-only" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const picture = button.querySelector("use");
  if (!picture || button.dataset.copied) return;
  const before = picture.getAttribute("href");
  button.dataset.copied = "true";
  picture.setAttribute("href", before.replace(/#.*/, "#check"));
  setTimeout(() => {
    picture.setAttribute("href", before);
    delete button.dataset.copied;
  }, 1600);
}
