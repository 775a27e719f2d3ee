/** The badge: a shield, one word and what is left. The same in the status bar, the toolbar and the panel's head. */

import * as React from 'react';

import { percent, tightest, used } from './figures';
import { toneIcons } from './icons';
import { limitName } from './limits';
import type { StatusMessage } from './protocol';
import type { Session } from './session';
import type { Words } from './words';

/** How the badge shows a session. */
export interface IBadge {
  readonly tone: StatusMessage['tone'];
  readonly word: string;
  /** What is left of the tightest limit, or which kind of kernel this is; may be empty. */
  readonly left: string;
  readonly title: string;
}

/** What the badge says about a session; without a word from the proxy nothing is claimed. */
export function badgeOf(session: Session, words: Words): IBadge {
  const { status, trouble } = session;
  if (trouble !== null) {
    return { tone: 'red', word: words.t('Not verified'), left: '', title: troubleText(trouble, words) };
  }
  if (status === null) {
    return { tone: 'grey', word: words.t('Unknown'), left: '', title: words.t('Asking the kernel …') };
  }
  const word = words.verdict(status.word);
  const lines = [words.t('Cloister: %1', word), `${status.entry} · ${words.known(status.mode)}`];
  if (status.error !== null) {
    lines.push(`[${status.error.code}] ${status.error.reason}`);
  }
  const left = leftOf(status, words);
  return { tone: status.tone, word, left: left.short, title: [...lines, left.long].filter(Boolean).join('\n') };
}

/** What is wrong with the kernel's messages, in words. */
export function troubleText(trouble: NonNullable<Session['trouble']>, words: Words): string {
  switch (trouble.kind) {
    case 'silent':
      return words.t('The kernel did not answer. Restart it; if that does not help, its version may be too old.');
    case 'closed':
      return words.t(
        'The kernel refused to talk to this tab: %1',
        words.known(trouble.detail) || words.t('too many are open')
      );
    default:
      return words.t('A message of the kernel cannot be read: %1', trouble.detail);
  }
}

function leftOf(status: StatusMessage, words: Words): { short: string; long: string } {
  if (status.mode !== 'confidential') {
    return { short: words.known(status.mode), long: '' };
  }
  // Without a session the last budget is old news: the panel shows it with its age, the badge does not.
  const limit = status.budget === null || status.state !== 'open' ? null : tightest(status.budget);
  if (limit === null) {
    return { short: '', long: '' };
  }
  const left = words.t('%1 left', percent(1 - used(limit)));
  return { short: left, long: `${limitName(limit, words)}: ${left}` };
}

/** The badge itself: a button that opens the panel, announced politely when it changes. */
export function Badge(props: { session: Session; words: Words; open: () => void }): JSX.Element {
  const { tone, word, left, title } = badgeOf(props.session, props.words);
  return (
    <span role="status" aria-live="polite" className="cl-Badge-live">
      <button type="button" className="cl-Badge" data-tone={tone} title={title} onClick={props.open}>
        <Shield tone={tone} />
        <span className="cl-Badge-word">{word}</span>
        {left && <span className="cl-Badge-left">{left}</span>}
      </button>
    </span>
  );
}

/** The shield of a tone. */
export function Shield(props: { tone: StatusMessage['tone'] }): JSX.Element {
  const Icon = toneIcons[props.tone].react;
  return <Icon tag="span" className="cl-Shield" aria-hidden="true" />;
}
