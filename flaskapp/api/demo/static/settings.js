/** The form of settings: sliders with numbers, the changed settings, and the server's errors. */

export class Settings {
  /** @param {HTMLFormElement} form */
  constructor(form) {
    this.form = form;
    this.fields = [...form.querySelectorAll("[name]")];
    form.addEventListener("input", (event) => this.#changed(event.target));
    form.addEventListener("reset", () => queueMicrotask(() => this.#wasReset()));
    this.#wasReset(); // browsers keep the values of a reloaded form
  }

  /** The generation settings that differ from the defaults, by name. */
  get config() {
    return this.#read((field) => !field.closest("[data-size]") && !field.matches(":disabled") && !isDefault(field));
  }

  /**
   * Set the defaults of a model that was loaded after the page. Settings that the user has changed stay.
   * @param {object} defaults by the settings' names; unknown names are ignored
   * @param {boolean} takesPrompt
   */
  start(defaults, takesPrompt) {
    const text = document.getElementById("text");
    text.hidden = text.disabled = !takesPrompt;
    for (const field of this.fields.filter(({ name }) => name in defaults)) {
      const isUntouched = isDefault(field);
      setDefault(field, defaults[field.name], isUntouched);
      this.#slide(field);
    }
    this.#showWhatIsNeeded();
  }

  /** Width and height of the resized picture in pixels. For an empty one the server has a default. */
  get size() {
    return this.#read((field) => field.closest("[data-size]") && field.value !== "");
  }

  /**
   * Show an error at each setting that has one.
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

  /** Move the slider to its number, within its range. */
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
  if (field.type === "textarea") return field.value;
  return JSON.parse(field.value);
}

/** Whether a control has its default value. An empty number or text is the default. */
function isDefault(field) {
  if (field.type === "checkbox") return field.checked === field.defaultChecked;
  if (field.type === "number") return field.value === "" || Number(field.value) === Number(field.defaultValue || NaN);
  if (field.type === "textarea") return field.value.trim() === "" || field.value === field.defaultValue;
  return field.selectedIndex === Math.max(0, [...field.options].findIndex((option) => option.defaultSelected));
}

function setDefault(field, value, isToBeShown) {
  const shown = field.value;
  if (field.type === "checkbox") {
    field.defaultChecked = value;
    if (isToBeShown) field.checked = value;
  } else if (field.type === "select-one") {
    for (const option of field.options) option.defaultSelected = option.value === JSON.stringify(value);
    field.value = isToBeShown ? JSON.stringify(value) : shown;
  } else {
    field.defaultValue = value ?? "";
    field.value = isToBeShown ? field.defaultValue : shown;
  }
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
