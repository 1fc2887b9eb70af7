/** Keep the keyboard's focus on the page when the focused element is hidden. */

/**
 * @param {() => void} change changes the page. If it hides the focused element, the first visible one of `places` gets
 *   the focus
 * @param {HTMLElement[]} places
 */
export function keepFocus(change, ...places) {
  const focused = document.activeElement;
  change();
  if (focused?.closest("[hidden]")) places.find((place) => !place.closest("[hidden]"))?.focus();
}
