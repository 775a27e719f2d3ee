/** Names of the limits of a contract, for bars and tooltips. */

import type { Limit } from './messages';
import type { PrivacyLimit } from './protocol';
import type { Words } from './words';

/** What a limit is called. */
export function limitName(limit: Limit, words: Words): string {
  switch (limit.name) {
    case 'privacy':
    case 'silent':
      return words.t('Privacy of %1', limit.population);
    case 'delta':
      return words.t('Keys of %1 (delta)', limit.population);
    case 'releases':
      return words.t('Releases');
    case 'rows':
      return words.t('Rows scanned (planned)');
    case 'compute':
      return words.t('Compute');
    case 'models':
      return words.t('Models');
    case 'expiry':
      return words.t('Valid until');
  }
}

/** What the formal guarantee excludes under the contract of a limit; empty if nothing. */
export function excluded(limit: PrivacyLimit, words: Words): string {
  if (limit.excludes === '') {
    return '';
  }
  const named = [
    limit.excludes.includes('screened') ? words.t('screened releases') : '',
    limit.excludes.includes('match') ? words.t('match releases') : '',
    limit.excludes.includes('deliver') ? words.t('deliver releases') : ''
  ].filter(part => part !== '');
  return words.t('the formal guarantee excludes: %1', named.join(', ') || limit.excludes);
}
