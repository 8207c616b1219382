// Returns what is wrong with the page: cut off, not named, hard to read. After the rules of axe-core.
(() => {
  const problems = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const describe = (element) => `<${element.tagName.toLowerCase()} class="${element.getAttribute("class") ?? ""}"> ` +
    (element.textContent ?? "").trim().slice(0, 40);
  const check = (isRight, rule, element) => isRight || problems.push(`${rule}: ${element ? describe(element) : ""}`);

  // Nothing is cut off.
  const width = window.innerWidth;
  check(document.documentElement.scrollWidth <= width, `the page is ${document.documentElement.scrollWidth} px wide, not ${width}`);
  for (const element of all("body *")) {
    // What is in a part that scrolls can be reached, except on paper.
    if (element.closest(".scroll") && !element.matches(".scroll") && !matchMedia("print").matches) continue;
    const box = element.getBoundingClientRect();
    if (box.width && box.height) check(-1 <= box.left && box.right <= width + 1, "beyond the edge", element);
  }

  // Language, title, headings in order, landmarks.
  check(document.documentElement.lang, "html has no lang");
  check(document.title, "no title");
  check(all("main").length === 1 && all("h1").length === 1, "not one main and one h1");
  let level = 0;
  for (const heading of all("h1, h2, h3, h4, h5, h6")) {
    const here = Number(heading.tagName[1]);
    check(here <= level + 1 && heading.textContent.trim(), "heading skips a level or is empty", heading);
    level = here;
  }

  // Names.
  for (const element of all("svg")) check(element.getAttribute("role") === "img" && element.getAttribute("aria-label"), "no name", element);
  for (const element of all("img")) check(element.hasAttribute("alt"), "no alt", element);
  for (const element of all("[role=region], [tabindex]")) check(element.getAttribute("aria-label"), "no name", element);
  for (const element of all("[aria-labelledby], [aria-describedby]")) {
    const id = element.getAttribute("aria-labelledby") ?? element.getAttribute("aria-describedby");
    check(document.getElementById(id)?.textContent.trim(), `${id} does not exist`, element);
  }
  for (const cell of all("th")) check(cell.scope && cell.textContent.trim(), "a head without scope or text", cell);
  for (const element of all(".scroll")) {
    if (element.clientWidth < element.scrollWidth) check(element.tabIndex === 0, "cannot be scrolled with keys", element);
  }

  // Contrast and size.
  const numbers = (color) => (color.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const isClear = (color) => numbers(color).length === 4 && numbers(color)[3] === 0;
  const luminance = (color) => {
    const [r, g, b] = numbers(color).slice(0, 3).map((n) => n / 255).map((n) => (n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (light + 0.05) / (dark + 0.05);
  };
  const background = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!isClear(color)) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || element.closest("svg") || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const ratio = contrast(style.color, background(element));
    check(4.5 <= ratio, `contrast ${ratio.toFixed(2)}`, element);
    if (!matchMedia("print").matches) check(12 <= parseFloat(style.fontSize), `font of ${style.fontSize}`, element);
  }
  for (const swatch of all(".swatch")) {
    const ratio = contrast(getComputedStyle(swatch).backgroundColor, background(swatch.parentElement));
    check(3 <= ratio, `contrast of a color ${ratio.toFixed(2)}`, swatch);
  }
  check(all(".swatch").length > 3 && all("svg path").length > 6, "no charts");
  return problems;
})()
