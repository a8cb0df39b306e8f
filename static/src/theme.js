// Light or dark before the first paint: the person's choice, or none, and then the machine's (color-scheme).
// A classic script on purpose: a module would run after the page has flashed in the wrong colours.
(() => {
  const KEY = "atrium.theme";
  const root = document.documentElement;

  const read = () => {
    try {
      return localStorage.getItem(KEY) || "";
    } catch {
      return ""; // storage is blocked: the machine's scheme stays
    }
  };

  const apply = (choice) => {
    if (choice) root.dataset.theme = choice;
    else delete root.dataset.theme;
    for (const button of document.querySelectorAll("[data-theme-choice]")) {
      button.setAttribute("aria-pressed", String(button.dataset.themeChoice === choice));
    }
  };

  apply(read());

  document.addEventListener("DOMContentLoaded", () => {
    for (const group of document.querySelectorAll("[data-theme-switch]")) group.hidden = false;
    apply(read());
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-theme-choice]");
    if (!button) return;
    const choice = button.dataset.themeChoice;
    try {
      if (choice) localStorage.setItem(KEY, choice);
      else localStorage.removeItem(KEY);
    } catch {
      // The choice then holds for this page only.
    }
    apply(choice);
  });

  // Another tab chose.
  window.addEventListener("storage", (event) => {
    if (event.key === KEY) apply(read());
  });
})();
