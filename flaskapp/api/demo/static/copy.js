/** Buttons that copy a text. */

const SHOWN_FOR = 2000; // milliseconds

/** @param {HTMLButtonElement} button @param {HTMLElement} source */
export function copyOnClick(button, source) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    button.textContent = (await copy(source)) ? "Copied" : "Press Ctrl+C";
    setTimeout(() => (button.textContent = label), SHOWN_FOR);
  });
}

/** Browsers lend the clipboard to pages of https and of localhost alone; elsewhere the old command may work. */
async function copy(source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(source);
    return document.execCommand("copy");
  }
}
