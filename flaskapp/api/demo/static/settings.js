/** The form of settings: sliders beside numbers, what is not the default, and what the server says is wrong. */

export class Settings {
  /** @param {HTMLFormElement} form */
  constructor(form) {
    this.form = form;
    this.fields = [...form.querySelectorAll("[name]")];
    form.addEventListener("input", (event) => this.#changed(event.target));
    form.addEventListener("reset", () => queueMicrotask(() => this.#wasReset()));
    this.#wasReset(); // a reloaded page keeps what was typed
  }

  /** Generation settings that are not the default, by name. */
  get config() {
    return this.#read((field) => !field.closest("[data-size]") && !field.matches(":disabled") && !isDefault(field));
  }

  /** Width and height of the resized picture, in pixels. One that is empty is left to the server. */
  get size() {
    return this.#read((field) => field.closest("[data-size]") && field.value !== "");
  }

  /**
   * Show at each setting what is wrong with it.
   * @param {Record<string, string>} problems by the settings' names
   */
  complain(problems = {}) {
    for (const [name, text] of Object.entries(problems)) {
      const field = this.fields.find((each) => each.name === name);
      if (field) mark(field, text);
    }
  }

  #read(isWanted) {
    const wanted = this.fields.filter((field) => isWanted(field));
    return Object.fromEntries(wanted.map((field) => [field.name, value(field)]));
  }

  #changed(target) {
    const field = target.dataset.slides ? this.form.elements.namedItem(target.dataset.slides) : target;
    if (target.dataset.slides) field.value = target.value;
    else this.#slide(field);
    mark(field, "");
    this.#showWhatIsNeeded();
  }

  #wasReset() {
    for (const field of this.fields) {
      this.#slide(field);
      mark(field, "");
    }
    this.#showWhatIsNeeded();
  }

  /** Move the slider of a number to it, as far as it goes. */
  #slide(field) {
    const slider = this.form.querySelector(`[data-slides="${field.name}"]`);
    if (slider) slider.value = field.value;
  }

  #showWhatIsNeeded() {
    for (const group of this.form.querySelectorAll("[data-needs]")) {
      group.hidden = group.disabled = !this.form.elements.namedItem(group.dataset.needs).checked;
    }
  }
}

function value(field) {
  if (field.type === "checkbox") return field.checked;
  if (field.type === "number") return Number(field.value);
  return JSON.parse(field.value);
}

/** A number that is empty is the default too. */
function isDefault(field) {
  if (field.type === "checkbox") return field.checked === field.defaultChecked;
  if (field.type === "number") return field.value === "" || Number(field.value) === Number(field.defaultValue || NaN);
  return field.selectedIndex === 0;
}

function mark(field, text) {
  const said = document.getElementById(`${field.name}-error`);
  said.textContent = text;
  said.hidden = text === "";
  field.setAttribute("aria-invalid", String(text !== ""));
  for (let around = field.closest("details"); text && around; around = around.parentElement.closest("details")) {
    around.open = true;
  }
}
