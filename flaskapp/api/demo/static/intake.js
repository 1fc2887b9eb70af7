/** Take images from drops, pastes, the file dialog and the samples. */

import { Problem } from "./problem.js";

/**
 * @param {object} elements
 * @param {HTMLButtonElement} elements.drop also opens the file dialog
 * @param {HTMLInputElement} elements.input
 * @param {Iterable<HTMLButtonElement>} elements.samples each has the URL of its picture in `data-sample`
 * @param {(files: File[], source?: string) => void} take `source` is the URL of a sample
 * @param {(problem: Problem) => void} fail called if a sample cannot be loaded
 */
export function listen({ drop, input, samples }, take, fail) {
  drop.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length > 0) {
      event.preventDefault();
      take([...event.clipboardData.files]);
    }
  });
  listenForDrops(drop, take);
  for (const button of samples) {
    button.addEventListener("click", () => takeSample(button.dataset.sample, take, fail));
  }
}

/** Accept files on the whole page: otherwise a file dropped beside the field would replace the page. */
function listenForDrops(drop, take) {
  let depth = 0; // nested elements that the files are dragged over
  const over = (change) => {
    depth = change === 0 ? 0 : depth + change;
    drop.classList.toggle("over", depth > 0);
  };
  const on = (type, handle) =>
    document.addEventListener(type, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      handle(event);
    });
  on("dragenter", () => over(1));
  on("dragleave", () => over(-1));
  on("dragover", (event) => (event.dataTransfer.dropEffect = "copy"));
  on("drop", (event) => {
    over(0);
    take([...event.dataTransfer.files]);
  });
}

async function takeSample(address, take, fail) {
  try {
    const answer = await fetch(address, { cache: "force-cache" }); // the page shows the picture already
    if (!answer.ok) throw await Problem.of(answer);
    const file = new File([await answer.blob()], address.split("/").pop(), { type: "image/png" });
    take([file], new URL(address, location.href).href);
  } catch (error) {
    fail(error instanceof Problem ? error : Problem.unreachable());
  }
}
