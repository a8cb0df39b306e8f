// Sentences in the person's language (Django's JavaScript catalogue) and numbers as that language writes them.

const catalogue = window.django ?? {};
const language = document.documentElement.lang || "en";

export const gettext = (text) => catalogue.gettext?.(text) ?? text;
export const ngettext = (one, many, count) => catalogue.ngettext?.(one, many, count) ?? (count === 1 ? one : many);

/** Put named values into a sentence: interpolate("%(count)s tokens", { count: 3 }). */
export const interpolate = (sentence, values) =>
  sentence.replace(/%\((\w+)\)s/g, (whole, name) => (name in values ? String(values[name]) : whole));

const whole = new Intl.NumberFormat(language);
export const number = (value) => whole.format(value);

const tenths = new Intl.NumberFormat(language, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
export const tenth = (value) => tenths.format(value);

const hundredths = new Intl.NumberFormat(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** Milliseconds as people read them: 240 ms, 1.25 s. */
export const duration = (ms) =>
  ms < 1000
    ? interpolate(gettext("%(count)s ms"), { count: number(Math.round(ms)) })
    : interpolate(gettext("%(count)s s"), { count: hundredths.format(ms / 1000) });

/** The day of a moment, for headings of lists: today, yesterday, last seven days, earlier. */
export function age(moment, now = new Date()) {
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate());
  const days = Math.floor((midnight - new Date(moment)) / 86_400_000) + 1;
  if (days <= 0) return gettext("Today");
  if (days === 1) return gettext("Yesterday");
  if (days <= 7) return gettext("Last seven days");
  return gettext("Earlier");
}
