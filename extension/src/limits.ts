/** Names of the limits of a contract, for bars and tooltips. */

import type { Limit } from './messages';
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
