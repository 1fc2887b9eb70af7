/** How images come in: dropped, pasted, chosen, or taken from the samples. */

import { Problem } from "./problem.js";

/**
 * @param {object} elements
 * @param {HTMLButtonElement} elements.drop also opens the dialog that chooses files
 * @param {HTMLInputElement} elements.input
 * @param {Iterable<HTMLButtonElement>} elements.samples each with the address of its picture in `data-sample`
 * @param {(files: File[], source?: string) => void} take `source`: the address of a sample
 * @param {(problem: Problem) => void} fail called when a sample could not be had
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

/** The whole page takes files: one that is dropped beside the field must not replace the page. */
function listenForDrops(drop, take) {
  let depth = 0; // of elements that the files were dragged into and not yet out of
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
    const answer = await fetch(address, { cache: "force-cache" }); // its picture is on the page already
    if (!answer.ok) throw await Problem.of(answer);
    const file = new File([await answer.blob()], address.split("/").pop(), { type: "image/png" });
    take([file], new URL(address, location.href).href);
  } catch (error) {
    fail(error instanceof Problem ? error : Problem.unreachable());
  }
}
