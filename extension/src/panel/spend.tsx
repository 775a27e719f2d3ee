/** Spend over time: one step per release of this session, as a small drawing. */

import * as React from 'react';

import { moment, shareOf } from '../figures';
import type { ReceiptItem } from '../protocol';
import type { Words } from '../words';

const WIDTH = 240;
const HEIGHT = 44;

/** What the session has spent after each release: the sums of the population that paid most. */
export function steps(items: readonly ReceiptItem[]): { population: string; sums: number[] } {
  const sums = new Map<string, number[]>();
  items
    .filter(item => !item.recalled)
    .forEach((item, index) => {
      for (const cost of item.costs) {
        const line = sums.get(cost.population) ?? [];
        while (line.length <= index) {
          line.push(line[line.length - 1] ?? 0);
        }
        line[index] += shareOf(cost);
        sums.set(cost.population, line);
      }
    });
  const lines = [...sums].sort((one, other) => (other[1].at(-1) ?? 0) - (one[1].at(-1) ?? 0));
  return lines.length > 0 ? { population: lines[0][0], sums: lines[0][1] } : { population: '', sums: [] };
}

export function Spend(props: { items: readonly ReceiptItem[]; words: Words }): JSX.Element | null {
  const { items, words } = props;
  const { population, sums } = steps(items);
  if (sums.length < 2) {
    return null;
  }
  const total = sums[sums.length - 1];
  const x = (index: number) => ((index / sums.length) * WIDTH).toFixed(1);
  const y = (sum: number) => (HEIGHT - 2 - (sum / total) * (HEIGHT - 6)).toFixed(1);
  const line = sums.map((sum, index) => `V${y(sum)}H${x(index + 1)}`).join('');
  const outline = `M0 ${y(0)}${line}`;
  const paid = items.filter(item => !item.recalled);
  const label = words.t('This session spent %1 of the budget of %2', `${trim(total)} %`, population);
  return (
    <figure className="cl-Spend">
      <figcaption>{label}</figcaption>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={label}>
        <path className="cl-Spend-area" d={`${outline}V${HEIGHT}H0Z`} />
        <path className="cl-Spend-line" d={outline} vectorEffect="non-scaling-stroke" />
      </svg>
      <div className="cl-Spend-axis" aria-hidden="true">
        <span>{moment(paid[0].time, words)}</span>
        <span>{moment(paid[paid.length - 1].time, words)}</span>
      </div>
    </figure>
  );
}

function trim(value: number): string {
  return value.toLocaleString(undefined, { maximumSignificantDigits: 3 });
}
