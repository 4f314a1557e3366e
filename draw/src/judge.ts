/**
 * What an eye would find fault with, found by the boxes of the page: texts that lie over one another,
 * are cut off, or too small. It sees what is text in the page; the figures at a graph's axes are
 * painted, and uPlot itself leaves out those that have no room.
 */

export interface Fault {
  kind: 'overlap' | 'cut' | 'small';
  detail: string;
}

interface Text {
  node: globalThis.Text;
  text: string;
  box: DOMRect;
}

/** How much of a box at its upper and lower end no letter reaches, as a fraction of its height. */
const LEADING = 0.2;
/** The smallest letters that can be read, in pixels. */
const LEGIBLE = 9;
/** Pixels that boxes may share: rounding, and letters that lean. */
const TOUCH = 2;
/** A table's cell that is so wide may shorten what is in it: names have any length, and the whole of one
 * is shown when the cell is pointed at. */
const WIDE_CELL = 90;
/** Pixels that a text may lack: rounding. */
const LACK = 1;

/** The faults of everything inside `root`. */
export function faults(root: Element): Fault[] {
  const texts = textsIn(root);
  return [...overlaps(texts), ...cuts(root), ...sideways(root), ...small(texts)];
}

/** Visible texts, one for each line. */
function textsIn(root: Element): Text[] {
  const found: Text[] = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const text = node.textContent?.trim() ?? '';
    const parent = node.parentElement;
    if (text === '' || !parent || !isVisible(parent)) {
      continue;
    }
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const line of range.getClientRects()) {
      const box = clipped(line, parent, root);
      if (box && box.width > TOUCH && box.height > TOUCH) {
        found.push({ node: node as globalThis.Text, text, box });
      }
    }
  }
  return found;
}

function isVisible(element: Element): boolean {
  // What is for screen readers alone.
  if (element.closest('.sr-only')) {
    return false;
  }
  return element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
}

/** What is left of a box when everything around it has cut it. */
function clipped(line: DOMRect, parent: Element, root: Element): DOMRect | undefined {
  let [left, top, right, bottom] = [line.left, line.top, line.right, line.bottom];
  for (let it: Element | null = parent; it; it = it === root ? null : it.parentElement) {
    const style = getComputedStyle(it);
    const box = it.getBoundingClientRect();
    if (style.overflowX !== 'visible') {
      left = Math.max(left, box.left);
      right = Math.min(right, box.right);
    }
    if (style.overflowY !== 'visible') {
      top = Math.max(top, box.top);
      bottom = Math.min(bottom, box.bottom);
    }
  }
  return right > left && bottom > top ? new DOMRect(left, top, right - left, bottom - top) : undefined;
}

function overlaps(texts: Text[]): Fault[] {
  const found = new Map<string, Fault>();
  texts.forEach((a, index) => {
    for (const b of texts.slice(index + 1)) {
      if (a.node !== b.node && meet(a.box, b.box)) {
        const detail = `${quoted(a.text)} and ${quoted(b.text)}`;
        found.set(detail, { kind: 'overlap', detail });
      }
    }
  });
  return [...found.values()];
}

/** Whether the letters in two boxes touch. */
function meet(a: DOMRect, b: DOMRect): boolean {
  const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const upper = Math.max(a.top + a.height * LEADING, b.top + b.height * LEADING);
  const lower = Math.min(a.bottom - a.height * LEADING, b.bottom - b.height * LEADING);
  return width > TOUCH && lower - upper > TOUCH;
}

/** Texts that their own box, or one around it that does not scroll, cuts off. */
function cuts(root: Element): Fault[] {
  const found = new Map<string, Fault>();
  const say = (text: string, how: string): void => {
    const detail = `${quoted(text)} ${how}`;
    found.set(detail, { kind: 'cut', detail });
  };
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const text = node.textContent?.trim() ?? '';
    const parent = node.parentElement;
    if (text === '' || !parent || !isVisible(parent) || mayShorten(parent)) {
      continue;
    }
    const range = document.createRange();
    range.selectNodeContents(node);
    const line = range.getBoundingClientRect();
    for (let it: Element | null = parent; it; it = it === root ? null : it.parentElement) {
      const style = getComputedStyle(it);
      const box = it.getBoundingClientRect();
      const right = line.right - box.right;
      const left = box.left - line.left;
      if (style.overflowX !== 'visible' && Math.max(left, right) > LACK) {
        if (line.right <= box.left || line.left >= box.right) {
          say(text, 'lies outside of what its panel shows');
        } else {
          say(text, `lacks ${Math.ceil(Math.max(left, right))} pixels of width`);
        }
        break;
      }
      const isScrolled = style.overflowY === 'auto' || style.overflowY === 'scroll';
      if (isScrolled) {
        // What is further down is one turn of the wheel away.
        break;
      }
      const slack = line.height * LEADING + LACK;
      if (style.overflowY !== 'visible' && Math.max(line.bottom - box.bottom, box.top - line.top) > slack) {
        say(text, 'lacks height');
        break;
      }
    }
  }
  return [...found.values()];
}

/** Texts that nobody can read. */
function small(texts: Text[]): Fault[] {
  const found = new Map<string, Fault>();
  for (const { node, text } of texts) {
    const size = node.parentElement ? Number.parseFloat(getComputedStyle(node.parentElement).fontSize) : LEGIBLE;
    if (size < LEGIBLE) {
      const detail = `${quoted(text)} is ${size.toFixed(1)} pixels high`;
      found.set(detail, { kind: 'small', detail });
    }
  }
  return [...found.values()];
}

function mayShorten(element: Element): boolean {
  const cell = element.closest('[role="gridcell"]');
  return cell !== null && cell.getBoundingClientRect().width >= WIDE_CELL;
}

/** What would have to be scrolled to be read to the right; a table leaves out columns that are there. */
function sideways(root: Element): Fault[] {
  return [...root.querySelectorAll('*')].flatMap((element) => {
    const { overflowX } = getComputedStyle(element);
    const beyond = element.scrollWidth - element.clientWidth;
    if ((overflowX !== 'auto' && overflowX !== 'scroll') || beyond <= TOUCH || !isVisible(element)) {
      return [];
    }
    return [{ kind: 'cut' as const, detail: `its content is ${beyond} pixels wider than it is` }];
  });
}

function quoted(text: string): string {
  return `"${text.length > 60 ? `${text.slice(0, 59)}…` : text}"`;
}
