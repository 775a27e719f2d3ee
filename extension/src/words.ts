/**
 * The extension's words in the user's language.
 *
 * JupyterLab's language packs come first. For Chinese a small dictionary ships with the extension, so that no pack is
 * needed. `%1` stands for the first argument.
 */

import { ITranslator, nullTranslator, TranslationBundle } from '@jupyterlab/translation';

import { CHINESE } from './zh';

/** Translates; keeps English where there is no translation. */
export class Words {
  constructor(translator: ITranslator | null) {
    const source = translator ?? nullTranslator;
    this._bundle = source.load('cloister');
    this._chinese = /^zh\b(?!.*(TW|HK|Hant))/i.test(source.languageCode);
  }

  /** The text in the user's language. */
  t(english: string, ...args: (string | number)[]): string {
    const packed = this._bundle.__(english);
    const found = packed === english && this._chinese ? (CHINESE[english] ?? english) : packed;
    return found.replace(/%(\d)/g, (mark, digit) => String(args[Number(digit) - 1] ?? mark));
  }

  /** The proxy's word for the badge: three known words, one of them with a name. */
  verdict(word: string): string {
    const genuine = /^Genuine: (.{1,40})$/.exec(word);
    return genuine === null ? this.t(word) : this.t('Genuine: %1', genuine[1]);
  }

  private readonly _bundle: TranslationBundle;
  private readonly _chinese: boolean;
}
