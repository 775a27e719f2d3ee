/** Figures for reading: parts of a budget, percentages, ages. */

import type { Limit } from './messages';
import type { Budget, Cost } from './protocol';
import type { Words } from './words';

const MILLION = 1_000_000n;

/** Returns `part / whole` of two exact fractions in text as a number from 0 to 1; a limit of nothing is used up. */
export function ratio(part: string, whole: string): number {
  const [p, q] = split(part);
  const [r, s] = split(whole);
  if (r === 0n) {
    return 1;
  }
  return Math.min(Number((p * s * MILLION) / (q * r)) / 1e6, 1);
}

function split(fraction: string): [bigint, bigint] {
  const [over, under] = fraction.split('/');
  return [BigInt(over), BigInt(under ?? '1')];
}

/** The part of a limit that is used, 0 to 1: for privacy the larger of the account's and the analyst's own. */
export function used(limit: Limit): number {
  switch (limit.name) {
    case 'privacy':
    case 'delta':
      return Math.max(ratio(limit.spent, limit.limit), ratio(limit.analyst_spent, limit.analyst_limit));
    case 'silent':
      return 0;
    case 'expiry':
      return Date.parse(limit.not_after) <= Date.now() ? 1 : 0;
    default:
      return limit.limit === 0 ? 1 : Math.min(limit.spent / limit.limit, 1);
  }
}

/** The limit with the least left; `null` without limits. */
export function tightest(budget: Budget): Limit | null {
  return budget.limits.reduce<Limit | null>(
    (worst, limit) => (worst === null || used(limit) > used(worst) ? limit : worst),
    null
  );
}

/** A part as a percentage that never rounds a remainder to nothing or a start to everything. */
export function percent(part: number): string {
  const value = part * 100;
  if (value > 0 && value < 1) {
    return '< 1 %';
  }
  if (value > 99 && value < 100) {
    return '> 99 %';
  }
  return `${Math.round(value)} %`;
}

/** The percentage in a cost's share (`1.2 %`), or 0. */
export function shareOf(cost: Cost): number {
  const value = Number.parseFloat(cost.share);
  return Number.isFinite(value) && value > 0 ? value : 0;
}

/** How long ago a time was; empty when it is no time. */
export function age(time: string, words: Words, now = Date.now()): string {
  const seconds = (now - Date.parse(time)) / 1000;
  if (!Number.isFinite(seconds)) {
    return '';
  }
  if (seconds < 60) {
    return words.t('just now');
  }
  if (seconds < 5400) {
    return words.t('%1 min ago', Math.round(seconds / 60));
  }
  return seconds < 129_600
    ? words.t('%1 h ago', Math.round(seconds / 3600))
    : words.t('%1 days ago', Math.round(seconds / 86_400));
}

/** A moment in the reader's own time zone; today by its time of day; the text itself when it is no time. */
export function moment(time: string, words: Words): string {
  const date = new Date(time);
  const today = date.toDateString() === new Date().toDateString();
  return said(time, words, today ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' });
}

/** The day of a moment. */
export function day(time: string, words: Words): string {
  return said(time, words, { dateStyle: 'medium' });
}

function said(time: string, words: Words, style: Intl.DateTimeFormatOptions): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? time : date.toLocaleString(words.locale, style);
}

/** A digest as people compare it: twelve digits. */
export function short(digest: string): string {
  return digest.replace(/^sha256:/, '').slice(0, 12);
}
