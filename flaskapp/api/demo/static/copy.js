/** Buttons that copy a text. */

const SHOWN_FOR = 2000; // milliseconds

/** @param {HTMLButtonElement} button @param {HTMLElement} source */
export function copyOnClick(button, source) {
  const { textContent: label, ariaLabel: name } = button;
  const say = (text, ariaLabel) => Object.assign(button, { textContent: text, ariaLabel });
  button.addEventListener("click", async () => {
    say((await copy(source)) ? "Copied" : "Press Ctrl+C", null); // its text is its accessible name
    setTimeout(() => say(label, name), SHOWN_FOR);
  });
}

/** Browsers offer the clipboard API over https and on localhost only. Elsewhere the old command may work. */
async function copy(source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(source);
    return document.execCommand("copy");
  }
}
