// Whether a question seems to be about somebody's health, in the page's languages. Too often is better than too seldom:
// all it does is show a sentence.

const WORDS = [
  // English
  "symptom", "diagnos", "medicine", "medication", "dosage", "\\bdose", "\\bdoctor", "disease", "illness", "\\bpain", "fever", "tumou?r",
  "cancer", "blood (pressure|sugar|test)", "pregnan", "x-?ray", "\\bmri\\b", "\\bct scan", "\\brash", "infection", "allerg", "depress", "diabet",
  "heart (attack|rate)", "\\bpills?\\b", "therap", "vaccin", "\\becg\\b",
  // Russian and Ukrainian
  "симптом", "диагно", "діагно", "лекарств", "ліки", "ліків", "доз(а|у|ы|и|ировк|уван)", "врач", "лікар", "болезн", "хвороб", "болит", "болить", "(?<=^|\\s)боль(?=\\s|$|[?!.,])",
  "(?<!\\p{L})біль(?!\\p{L})", "опухол", "пухлин", "(?<=^|\\s)рак[аеу]?(?=\\s|$|[?!.,])", "артериальн", "артеріальн", "беремен", "вагітн", "рентген", "(?<!\\p{L})мрт", "аллерг", "алерг", "диабет", "діабет", "сыпь", "висип",
  // Portuguese
  "sintoma", "diagn[oó]stic", "rem[eé]dio", "medicament", "dosagem", "m[eé]dic[oa]", "doen[cç]a", "\\bdor(es)?\\b", "febre", "c[aâ]ncer", "press[aã]o arterial",
  "gr[aá]vid", "raio-?x", "alergi", "exame de sangue",
  // Chinese
  "症状", "诊断", "药", "剂量", "医生", "疾病", "疼", "发烧", "肿瘤", "癌", "血压", "血糖", "怀孕", "X光", "过敏", "糖尿病", "头痛", "生病",
];
const ABOUT = new RegExp(WORDS.join("|"), "iu");

export function asksAboutHealth(text: string): boolean {
  return ABOUT.test(text);
}
