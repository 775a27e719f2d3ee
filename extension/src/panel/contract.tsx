/** Section: the contract in plain words, as the parties signed it. */

import * as React from 'react';

import { short } from '../figures';
import type { ContractMessage } from '../protocol';
import type { Words } from '../words';
import { Empty, Section } from './section';

export function ContractSection(props: { contract: ContractMessage | null; words: Words }): JSX.Element {
  const { contract, words } = props;
  if (contract === null) {
    return (
      <Section name="contract" title={words.t('Contract')} folded>
        <Empty>{words.t('Shown once the enclave has been verified.')}</Empty>
      </Section>
    );
  }
  return (
    <Section name="contract" title={words.t('Contract')} summary={contract.title} folded>
      <div className="cl-Contract">
        {contract.words.map((line, index) => (
          <p key={index} data-indented={line.startsWith(' ')}>
            {line.trim().replace(/^- /, '')}
          </p>
        ))}
      </div>
      <p className="cl-Fine">
        {words.t('Digest of the signed terms')}: <code title={contract.digest}>{short(contract.digest)}</code>
      </p>
    </Section>
  );
}
