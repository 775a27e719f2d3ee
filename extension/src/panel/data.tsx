/** Section: tables and columns with their tiers; a click writes the name where the cursor is. */

import * as React from 'react';

import type { Column, ContractMessage, Table } from '../protocol';
import type { Words } from '../words';
import { Empty, Section } from './section';

type Insert = (table: string, column: string | null) => void;

interface IProps {
  readonly contract: ContractMessage | null;
  readonly words: Words;
  readonly insert: Insert;
}

export function DataSection(props: IProps): JSX.Element {
  const { contract, words, insert } = props;
  const tables = contract?.tables ?? [];
  return (
    <Section name="data" title={words.t('Data')} summary={tables.length > 0 ? words.t('%1 tables', tables.length) : ''}>
      {tables.length === 0 && <Empty>{words.t('Shown once the enclave has been verified.')}</Empty>}
      {tables.map(table => (
        <TableView key={table.name} table={table} words={words} insert={insert} />
      ))}
    </Section>
  );
}

function TableView(props: { table: Table; words: Words; insert: Insert }): JSX.Element {
  const { table, words, insert } = props;
  return (
    <details className="cl-Table" data-table={table.name}>
      <summary>
        <code className="cl-Table-name">{table.name}</code>
        <Tier tier={table.tier} words={words} />
      </summary>
      <p className="cl-Table-about">
        {table.title} ·{' '}
        {table.rows_per_unit === 1
          ? words.t('one row per %1', table.unit)
          : words.t('one %1 has at most %2 rows', table.unit, table.rows_per_unit)}
        <button type="button" className="cl-Insert" onClick={() => insert(table.name, null)}>
          {words.t('Insert table')}
        </button>
      </p>
      <ul className="cl-Columns">
        {table.columns.map(column => (
          <ColumnView key={column.name} table={table.name} column={column} words={words} insert={insert} />
        ))}
      </ul>
    </details>
  );
}

function ColumnView(props: { table: string; column: Column; words: Words; insert: Insert }): JSX.Element {
  const { table, column, words, insert } = props;
  return (
    <li>
      <button
        type="button"
        className="cl-Column"
        title={words.t('Insert %1 at the cursor', column.name)}
        onClick={() => insert(table, column.name)}
      >
        <code className="cl-Column-name">{column.name}</code>
        <span className="cl-Column-type">{column.type}</span>
        <Tier tier={column.tier} words={words} />
        <span className="cl-Column-about">{column.about}</span>
      </button>
    </li>
  );
}

function Tier(props: { tier: number; words: Words }): JSX.Element {
  const title = props.words.t('Sensitivity tier %1 of 5', props.tier);
  return (
    <span className="cl-Tier" data-tier={props.tier} title={title}>
      <span aria-hidden="true">T{props.tier}</span>
      <span className="cl-Hidden">{title}</span>
    </span>
  );
}
