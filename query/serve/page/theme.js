// Light or dark: what the system prefers, unless the user chose. Loaded before the first paint.

const KEY = "locatlas.theme";
const order = ["system", "light", "dark"];

/** The user's choice: system, light or dark. */
export function chosen() {
  const kept = localStorage.getItem(KEY);
  return order.includes(kept) ? kept : "system";
}

/** Apply the choice to the document. */
export function apply(choice = chosen()) {
  if (choice === "system") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.setAttribute("data-theme", choice);
}

/** Go to the next choice and return it. */
export function next() {
  const choice = order[(order.indexOf(chosen()) + 1) % order.length];
  localStorage.setItem(KEY, choice);
  apply(choice);
  document.dispatchEvent(new Event("themechange"));
  return choice;
}

/** Whether the page is dark now. */
export function isDark() {
  const choice = chosen();
  return choice === "dark" || (choice === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("themechange")));
apply();
