/** Stop animations at the first frame, which is the one that the server captions. */

import { readStart } from "./api.js";

const START = 2 ** 16; // bytes; chunks that mark an animation precede its frames
const ANIMATED = /^(GIF8|RIFF....WEBP.*ANIM|.PNG.*acTL|....ftypavis)/s;

/** Replace an animated image with a canvas of its first frame. @param {HTMLImageElement} image @param {File} file */
export async function freeze(image, file) {
  const start = await readStart(file, START).catch(() => ""); // the file was removed: keep its image
  if (!ANIMATED.test(start)) return;
  draw(image, image, image.naturalWidth, image.naturalHeight); // the first frame of an animation
}

/**
 * Replace an image with a canvas that shows a picture.
 * @param {HTMLImageElement} image
 * @param {CanvasImageSource} picture stretched to the size of the canvas
 */
export function draw(image, picture, width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").drawImage(picture, 0, 0, width, height);
  canvas.dataset.part = image.dataset.part;
  canvas.role = "img";
  canvas.ariaLabel = image.alt;
  image.replaceWith(canvas);
}
