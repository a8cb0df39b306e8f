// The shell's few movements: menus that close, the drawer on narrow screens, tabs, copy buttons.

import { copy } from "./dom.js";

const body = document.body;

// --- Menus: <details> elements that close on a click elsewhere and on Escape ---------------------------------------

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
  closeDrawer();
});

// --- The drawer ----------------------------------------------------------------------------------------------------

const drawer = document.querySelector("[data-drawer]");

function closeDrawer() {
  if (!body.classList.contains("drawer-open")) return;
  body.classList.remove("drawer-open");
  drawer.setAttribute("aria-expanded", "false");
  drawer.focus();
}

drawer?.addEventListener("click", () => {
  body.classList.add("drawer-open");
  drawer.setAttribute("aria-expanded", "true");
  document.querySelector("#rail a").focus();
});

document.querySelector("[data-veil]")?.addEventListener("click", closeDrawer);

// --- Tabs: arrow keys move, as the pattern for tab lists has it ----------------------------------------------------

function choose(tabs, chosen) {
  for (const tab of tabs) {
    const isChosen = tab === chosen;
    tab.setAttribute("aria-selected", String(isChosen));
    tab.tabIndex = isChosen ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !isChosen;
  }
}

for (const group of document.querySelectorAll("[data-tabs]")) {
  const tabs = [...group.querySelectorAll("[role=tab]")];
  for (const [place, tab] of tabs.entries()) {
    tab.addEventListener("click", () => choose(tabs, tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(place + step + tabs.length) % tabs.length];
      choose(tabs, next);
      next.focus();
    });
  }
}

// --- Copy ----------------------------------------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = button.dataset.copy || button.closest(".code")?.querySelector("code").textContent || "";
  copy(text, button);
});

// --- Dialogs that ask before something cannot be undone ------------------------------------------------------------

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog]");
  if (opener) document.getElementById(opener.dataset.dialog)?.showModal();
  const closer = event.target.closest("[data-dialog-close]");
  if (closer) closer.closest("dialog")?.close();
});
