/** Keyboards stay where they are when what they are on goes. */

/**
 * @param {() => void} change of the page; if it hides what has the focus, the first of `places` that is shown gets it
 * @param {HTMLElement[]} places
 */
export function keepFocus(change, ...places) {
  const focused = document.activeElement;
  change();
  if (focused?.closest("[hidden]")) places.find((place) => !place.closest("[hidden]"))?.focus();
}
