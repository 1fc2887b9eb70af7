/** Animations stand still: the server captions their first frame. */

import { readStart } from "./api.js";

const START = 2 ** 16; // bytes; the chunks that tell of an animation stand before its frames
const ANIMATED = /^(GIF8|RIFF....WEBP.*ANIM|.PNG.*acTL|....ftypavis)/s;

/** Replace an image that may be animated by a canvas with its first frame. @param {HTMLImageElement} image @param {File} file */
export async function freeze(image, file) {
  const start = await readStart(file, START).catch(() => ""); // the file has gone: its image is shown as it is
  if (!ANIMATED.test(start)) return;
  draw(image, image, image.naturalWidth, image.naturalHeight); // the first frame of an animation
}

/** Replace an image by a canvas. @param {HTMLImageElement} image @param {CanvasImageSource} picture stretched to the size */
export function draw(image, picture, width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").drawImage(picture, 0, 0, width, height);
  canvas.dataset.part = image.dataset.part;
  canvas.role = "img";
  canvas.ariaLabel = image.alt;
  image.replaceWith(canvas);
}
