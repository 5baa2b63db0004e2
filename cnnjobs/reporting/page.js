"use strict";

// What is folded on the screen is open on paper.
(() => {
  const folded = [];
  addEventListener("beforeprint", () => {
    folded.push(...document.querySelectorAll("details:not([open])"));
    for (const each of folded) each.open = true;
  });
  addEventListener("afterprint", () => {
    for (const each of folded.splice(0)) each.open = false;
  });
})();

// The gallery: filters, sorts and pages over the images of the JSON block. A page has at most
// PAGE cards, so thousands of images load as fast as these.
(() => {
  const PAGE = 60;
  const block = document.getElementById("gallery-data");
  if (!block) return;
  const data = JSON.parse(block.textContent);
  const { images, labels, positive } = data;
  const at = (id) => document.getElementById(id);
  const form = at("filters");
  const dialog = at("image");
  let found = images;
  let page = 0;
  let open = 0;

  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  const nameOf = (image) => image.path.split("/").pop();

  // the positive class's with two classes, the predicted class's with more
  const score = (image) => {
    if (image.error) return null;
    return image.probabilities ? Math.max(...image.probabilities) : image.probability;
  };

  const tagsOf = (image) => {
    const tags = [];
    if (image.wrong) tags.push("wrong");
    if (image.uncertain) tags.push("uncertain");
    if (image.error) tags.push("no score");
    if (image.heat) tags.push("heat map");
    return tags;
  };

  const KINDS = {
    wrong: (image) => image.wrong,
    right: (image) => image.label !== null && !image.wrong && !image.error,
    uncertain: (image) => image.uncertain,
    error: (image) => image.error,
    explained: (image) => image.heat,
  };

  const byPath = (one, other) => (one.path < other.path ? -1 : one.path > other.path ? 1 : 0);
  const ORDERS = {
    wrongness: (one, other) => other.wrong - one.wrong || other.wrongness - one.wrongness,
    highest: (one, other) => (score(other) ?? -1) - (score(one) ?? -1),
    lowest: (one, other) => (score(one) ?? 2) - (score(other) ?? 2),
    doubt: (one, other) => !!one.error - !!other.error || one.certainty - other.certainty,
    path: byPath,
  };

  const matches = () => {
    const { kind, label, prediction, split, name } = form.elements;
    const text = name.value.trim().toLowerCase();
    return (image) =>
      (!kind.value || KINDS[kind.value](image)) &&
      (!label.value || image.label === label.value) &&
      (!prediction.value || image.prediction === prediction.value) &&
      (!split.value || image.split === split.value) &&
      (!text || image.path.toLowerCase().includes(text));
  };

  const update = () => {
    const compare = ORDERS[form.elements.order.value];
    found = images.filter(matches()).sort((one, other) => compare(one, other) || byPath(one, other));
    page = 0;
    show();
  };

  const frame = (source, alt, missing) => {
    const box = make("span", "frame");
    if (!source) {
      box.append(make("span", "", missing));
      return box;
    }
    const picture = make("img");
    picture.src = source;
    picture.alt = alt;
    picture.decoding = "async";
    box.append(picture);
    return box;
  };

  const describe = (image) => {
    const actual = image.label === null ? "" : `, labelled ${image.label}`;
    if (image.error) return `${nameOf(image)}${actual}, no score: ${image.error}`;
    return `${nameOf(image)}${actual}, predicted ${image.prediction}`;
  };

  const missing = (image) => image.error || image.unread || "not available";

  const card = (image, index) => {
    const button = make("button", ["card", ...tagsOf(image)].join(" "));
    button.type = "button";
    button.dataset.index = index;
    button.title = image.path;
    button.append(frame(image.thumbnail, describe(image), missing(image)));
    button.append(make("span", "name", nameOf(image)));
    const actual = image.label === null ? "" : `${image.label} → `;
    button.append(make("span", "", `${actual}${image.prediction ?? "not scored"}`));
    const value = score(image);
    button.append(make("span", "score", value === null ? "no score" : value.toFixed(3)));
    button.append(make("span", "tags", tagsOf(image).join(", ")));
    const item = make("li");
    item.append(button);
    return item;
  };

  const show = () => {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    const start = page * PAGE;
    at("cards").replaceChildren(
      ...found.slice(start, start + PAGE).map((image, index) => card(image, start + index)),
    );
    const count = (kind) => found.filter(KINDS[kind]).length.toLocaleString("en");
    at("counts").textContent =
      `${found.length.toLocaleString("en")} of ${images.length.toLocaleString("en")} images: ` +
      `${count("wrong")} wrong, ${count("uncertain")} uncertain, ${count("error")} without a score`;
    const shown = Math.min(PAGE, found.length - start);
    at("printed").textContent =
      `On paper are ${shown.toLocaleString("en")} of these images, those of page ${page + 1} of ` +
      `${pages}. The others, larger pictures, heat maps and file paths are only in the HTML file.`;
    at("page").textContent = `Page ${page + 1} of ${pages}`;
    at("pager").hidden = pages === 1;
    at("earlier").disabled = page === 0;
    at("later").disabled = page === pages - 1;
  };

  const turn = (by) => {
    page += by;
    show();
    at("gallery").scrollIntoView();
  };

  const fieldsOf = (image) => {
    const fields = {
      Label: image.label,
      Prediction: image.prediction,
      Split: image.split,
      Size: image.width ? `${image.width} × ${image.height} pixels` : null,
      Flags: tagsOf(image).join(", ") || null,
      Error: image.error,
      Warning: image.warning,
      Path: image.path,
    };
    if (image.error) return fields;
    if (!image.probabilities) {
      return { [positive ? `P(${positive})` : "Probability"]: image.probability.toFixed(3), ...fields };
    }
    const ranked = image.probabilities
      .map((value, index) => [value, labels[index] ?? index])
      .sort((one, other) => other[0] - one[0]);
    const top = ranked.slice(0, 5).map(([value, label]) => `${label} ${value.toFixed(3)}`);
    return { Probabilities: top.join(", "), ...fields };
  };

  const picture = (source, alt, caption, absent) => {
    const figure = make("figure");
    figure.append(frame(source, alt, absent), make("figcaption", "", caption));
    return figure;
  };

  const openImage = (index) => {
    open = index;
    const image = found[index];
    at("image-name").textContent = nameOf(image);
    const pictures = [
      picture(image.large || image.thumbnail, describe(image), "Image", missing(image)),
    ];
    if (image.heat) {
      const alt = `${nameOf(image)}: regions that support the prediction ${image.prediction}`;
      const cut = image.is_cut ? "; the model does not see the dark margin" : "";
      const caption = `Grad-CAM: ${image.is_empty ? "no " : ""}evidence for ${image.prediction}${cut}`;
      pictures.push(picture(image.heat, alt, caption, ""));
    }
    at("pictures").replaceChildren(...pictures);
    at("image-note").textContent =
      image.large || !image.thumbnail ? "" : "Enlarged from the thumbnail; the file has more detail.";
    at("fields").replaceChildren(
      ...Object.entries(fieldsOf(image))
        .filter(([, value]) => value !== null && value !== undefined)
        .map(([name, value]) => {
          const row = make("div", value.length > 24 ? "long" : "");
          row.append(make("dt", "", name), make("dd", "", value));
          return row;
        }),
    );
    at("position").textContent = `${index + 1} of ${found.length}`;
    at("before").disabled = index === 0;
    at("after").disabled = index === found.length - 1;
    if (!dialog.open) dialog.showModal();
  };

  const go = (by) => {
    if (open + by >= 0 && open + by < found.length) openImage(open + by);
  };

  const choices = (name, values) => {
    const select = form.elements[name];
    const known = [...new Set(values.filter((value) => value !== null))].sort();
    for (const value of known) {
      const option = make("option", "", value);
      option.value = value;
      select.append(option);
    }
    select.closest("label").hidden = known.length < 2;
  };

  for (const name of ["label", "prediction", "split"]) {
    choices(name, images.map((image) => image[name]));
  }
  form.hidden = false;
  form.addEventListener("input", update);
  // a value set by a program (a password manager, a test) fires no input event
  form.addEventListener("change", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  // the fields are reset only after the event
  form.addEventListener("reset", () => setTimeout(update));
  at("earlier").addEventListener("click", () => turn(-1));
  at("later").addEventListener("click", () => turn(1));
  at("cards").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) openImage(Number(button.dataset.index));
  });
  at("close").addEventListener("click", () => dialog.close());
  at("before").addEventListener("click", () => go(-1));
  at("after").addEventListener("click", () => go(1));
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") go(-1);
    if (event.key === "ArrowRight") go(1);
  });
  dialog.addEventListener("close", () => {
    // the last opened image may be on another page
    page = Math.floor(open / PAGE);
    show();
    at("cards").querySelector(`[data-index="${open}"]`)?.focus();
  });
  update();
})();
