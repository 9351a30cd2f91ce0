// Observes the visible elements of a page and builds selectors for them. Runs after the functions of
// `site/profile/locator.rs`. Hidden elements are never read, and of visible ones only attributes that name a part of the
// page.

const NAME_ATTRIBUTES = ['data-qa', 'data-testid', 'data-test', 'data-cy', 'data-role', 'data-action', 'name', 'aria-label'];
const visibleElements = () => [...document.querySelectorAll('body *')].filter(isVisible);
// Whether a name is stable across visits: no round numbers, hashes or states.
const isStableName = name => name.length > 1 && name.length < 40 && !/\d{2,}|^\d|[:/]|^(css|sc|jsx|svelte|emotion)-/.test(name)
  && !/^leaflet-(zoom|touch|retina|fade|grab|drag|interactive)|^(maplibregl|mapboxgl)-(marker-anchor|touch)|-selectable$|^ol-(touch|unselectable)/.test(name)
  && !/(^|[-_])(is-?)?(active|hover|focus|open|opened|visible|show|shown|hidden|disabled|enabled|selected|current|loaded|ready|grab|grabbing|dragging|on|off)$/i.test(name);
const classSelector = name => {
  const hashed = name.match(/^(.*__)[A-Za-z0-9+_-]{5,8}$/);
  return hashed ? `[class*="${hashed[1]}"]` : isStableName(name) ? '.' + CSS.escape(name) : null;
};
// Selectors from the names of the element itself, most stable first.
const ownSelectors = e => {
  const tag = e.tagName.toLowerCase(), found = [];
  const value = name => e.getAttribute(name);
  for (const name of NAME_ATTRIBUTES.slice(0, 6)) if (value(name) && isStableName(value(name))) found.push(`[${name}="${CSS.escape(value(name))}"]`);
  if (e.id && isStableName(e.id)) found.push('#' + CSS.escape(e.id));
  const classes = [...e.classList].map(classSelector).filter(selector => selector);
  found.push(...classes);
  if (classes.length > 1) found.push(classes.join(''));
  if (value('name') && isStableName(value('name'))) found.push(`${tag}[name="${CSS.escape(value('name'))}"]`);
  return found;
};
const isUnique = (css, e) => {
  const found = [...document.querySelectorAll(css)].filter(isVisible);
  return found.length === 1 && found[0] === e;
};
const cssPath = e => {
  const steps = [];
  for (let at = e; at && at !== document.body; at = at.parentElement) {
    const same = [...at.parentElement.children].filter(other => other.tagName === at.tagName);
    steps.unshift(at.tagName.toLowerCase() + (same.length > 1 ? `:nth-of-type(${same.indexOf(at) + 1})` : ''));
  }
  return ['body', ...steps].join(' > ');
};
// Selectors that match only this element, most stable first.
const selectorsFor = e => {
  const own = [...ownSelectors(e), e.tagName.toLowerCase()];
  const found = own.slice(0, -1).filter(css => isUnique(css, e));
  for (let up = e.parentElement; up && up !== document.body && found.length < 3; up = up.parentElement) {
    for (const of of ownSelectors(up)) found.push(...own.map(css => `${of} ${css}`).filter(css => isUnique(css, e)).slice(0, 1));
  }
  return found.length > 0 ? [...new Set(found)].slice(0, 3) : [cssPath(e)];
};
const visibleArea = r => Math.max(0, Math.min(r.x + r.width, innerWidth) - Math.max(r.x, 0))
  * Math.max(0, Math.min(r.y + r.height, innerHeight) - Math.max(r.y, 0));
const roleOf = e => ['button', 'link'].find(role => hasRole(e, role)) ?? null;

// Visible frames.
const visibleFrames = () => visibleElements().filter(e => e.tagName === 'IFRAME' && visibleArea(rect(e)) > 10000).map(e => selectorsFor(e)[0]);
// Images and canvases outside the boxes, largest first.
const pictures = boxes => {
  const isPicture = e => ['CANVAS', 'IMG', 'VIDEO'].includes(e.tagName) || getComputedStyle(e).backgroundImage.includes('url(');
  const found = visibleElements().filter(e => isPicture(e) && !boxes.some(box => box.contains(e)));
  // Of elements with the same rectangle, the innermost: its ancestors may contain buttons too.
  return found.map((e, i) => ({ e, i, area: visibleArea(rect(e)) })).filter(it => it.area > 40000)
    .sort((a, b) => b.area - a.area || b.i - a.i).slice(0, 4).map(({ e, area }) => ({ area, selectors: selectorsFor(e) }));
};
// Map tiles: adjacent square images of the same size in a box.
const mapTiles = box => {
  // Some maps hide the images and draw them on a canvas.
  const squares = [...box.querySelectorAll('*')].filter(e => e.tagName === 'IMG' && e.getClientRects().length > 0)
    .map(e => ({ e, ...rect(e) })).filter(r => Math.abs(r.width - r.height) < 1 && r.width >= 100);
  return squares.map(({ e, x, y, width }) => ({ src: e.src, x, y, width, classes: [...e.classList].map(classSelector).filter(selector => selector) }));
};
// Buttons and other clickable elements.
const buttons = () => visibleElements()
  .filter(e => roleOf(e) || e.matches('[role=menuitem], label') || getComputedStyle(e).cursor === 'pointer' && !roleOf(e.parentElement))
  .map(e => ({ e, text: visibleText(e) })).filter(({ text }) => text && text.length < 60)
  .map(({ e, text }) => ({ element: e, text, role: roleOf(e), enabled: !e.disabled && e.getAttribute('aria-disabled') !== 'true',
                           area: visibleArea(rect(e)), selectors: selectorsFor(e) }));
// Short texts with a number, outside maps, which have scale bars. `within` is the index of the text that contains it.
const numbers = boxes => {
  const found = visibleElements().filter(e => !boxes.some(box => box.contains(e))).map(e => ({ e, text: visibleText(e) }))
    .filter(({ e, text }) => /\d/.test(text) && text.length < 120 && !['SCRIPT', 'STYLE', 'OPTION'].includes(e.tagName));
  const at = new Map(found.map(({ e }, i) => [e, i]));
  const within = e => { for (let up = e.parentElement; up; up = up.parentElement) if (at.has(up)) return at.get(up); return null };
  return found.map(({ e, text }) => ({ element: e, text, within: within(e), size: parseFloat(getComputedStyle(e).fontSize), selectors: selectorsFor(e) }));
};
// Small elements over a box.
const smallOverlays = box => {
  const b = box.getBoundingClientRect();
  return visibleElements().filter(e => !e.contains(box) && e !== box).map(e => ({ e, ...rect(e) }))
    .filter(r => r.width <= 100 && r.height <= 100 && r.width >= 4 && r.x + r.width > b.x - 20 && r.x < b.x + b.width + 20
      && r.y + r.height > b.y - 20 && r.y < b.y + b.height + 20)
    .map(({ e, x, y, width, height }) => ({ element: e, rect: { x, y, width, height }, selectors: selectorsFor(e) }));
};
// Visible elements that cover a view.
const coveringElements = view => {
  const r = view.getBoundingClientRect(), found = new Set();
  const paints = e => {
    const style = getComputedStyle(e);
    return !/^rgba\(.*, 0\)$|^transparent$/.test(style.backgroundColor) || style.backgroundImage !== 'none'
      || ['IMG', 'SVG', 'CANVAS', 'IFRAME', 'VIDEO'].includes(e.tagName.toUpperCase())
      || [...e.childNodes].some(child => child.nodeType === 3 && child.data.trim());
  };
  for (let i = 0; i < 16; i++) for (let j = 0; j < 16; j++) {
    for (const e of document.elementsFromPoint(r.x + (i + .5) / 16 * r.width, r.y + (j + .5) / 16 * r.height)) {
      if (e === view || e.contains(view)) break;
      let top = e;
      while (top.parentElement && !top.parentElement.contains(view)) top = top.parentElement;
      if (!view.contains(e) && [top, ...top.querySelectorAll('*')].some(part => isVisible(part) && paints(part))) found.add(top);
    }
  }
  return [...found].map(e => selectorsFor(e)[0]);
};
// Ancestors of an element that do not contain the box, outermost first.
const containersOf = (e, box) => {
  const found = [];
  for (let up = e.parentElement; up && up !== document.body && !(box && up.contains(box)); up = up.parentElement) found.unshift(selectorsFor(up)[0]);
  return found;
};
// Whether another element covers the centre of a box.
const isCovered = box => {
  const r = box.getBoundingClientRect(), top = document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2);
  return top !== null && !box.contains(top);
};
