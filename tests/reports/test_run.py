"""The report: complete, self-contained, safe against what stands in a log, and plain in words."""

import json
import random
import re
from html.parser import HTMLParser

import pytest

from logjax.errors import LogjaxError
from logjax.examples.protocol import LEAKS
from logjax.reports.run import write_report
from logjax.reports.wording import readable

SCRIPT = '<script>alert("log")</script> & <b>bold</b>'


def metrics(f1, auprc, **more):
  return {
    'rows': 6600,
    'abnormal_rows': 594,
    'accuracy': 0.98712,
    'normal': {'precision': 0.99123, 'recall': 0.99412, 'f1': 0.99267},
    'abnormal': {'precision': 0.93101, 'recall': 0.90404, 'f1': f1},
    'auroc': 0.99131,
    'auprc': auprc,
    'mcc': 0.91012,
    'confusion': {
      'true_abnormal': 537,
      'false_abnormal': 40,
      'false_normal': 57,
      'true_normal': 5966,
    },
    'threshold': 0.4871,
    **more,
  }


def realistic_results():
  repetition = metrics(0.911, 0.941, train_loss=0.04, train_accuracy=0.991)
  repetition |= {'valid_loss': 0.05, 'valid_accuracy': 0.987}
  deviation = dict.fromkeys(('accuracy', 'auroc', 'auprc', 'mcc'), 0.0061)
  deviation |= {
    kind: dict.fromkeys(('precision', 'recall', 'f1'), 0.0112) for kind in ('normal', 'abnormal')
  }
  return {
    'origin': 'simulated',
    'protocol': 'honest',
    'leaks': ['random_split'],
    'seed': 7,
    'corpus': {
      'name': 'thunderbird',
      'path': ['runs/thunderbird/simulated/Thunderbird_part1.log', 'Thunderbird_part2.log'],
      'lines': 33_000,
      'rejected': 3,
      'abnormal': 3_000,
      'notes': {'empty': 2, 'undecodable': 0},
    },
    'split': {
      'by': 'random',
      'train': {'rows': 19_800, 'abnormal': 1_812},
      'valid': {'rows': 6_600, 'abnormal': 594},
      'test': {'rows': 6_600, 'abnormal': 594},
    },
    'text': {
      'vocabulary': 1_204,
      'length': 40,
      'cut_share': 0.0004,
      'distinct': 1_823,
      'numbers': 'mask',
    },
    'oversampler': {
      'name': 'seqgan',
      'requested': 16_176,
      'generated': 20_352,
      'kept': 15_120,
      'removed': {'equal_to_train': 1_204, 'equal_to_each_other': 4_028},
      'repeated': 1_056,
      'distinct_share': 0.743,
      'novel_text_share': 0.61,
    },
    'test': metrics(0.91711, 0.94012, synthetic_rows=0),
    'test_std': deviation,
    'test_unseen': metrics(0.71, 0.68, rows=461, abnormal_rows=35),
    'repetitions': [repetition] * 10,
    'baselines': {
      'majority': metrics(0.0, 0.09),
      'lookup': metrics(0.88, 0.9),
      'tfidf_lr': metrics(0.92143, 0.93001),
    },
    'seen_text_share': 0.93015,
    'seconds': {
      'read': 0.42,
      'text': 1.3,
      'generator_mle': 61.2,
      'adversarial': 143.9,
      'gru': 88.0,
      'report': 2.2,
    },
    'versions': {'logjax': '0.1.0', 'jax': '0.10.2', 'flax': '0.12.8'},
    'device': '1 x cpu',
    'git_commit': '0123456789abcdef',
    'command': (
      'python -m logjax.main --config=configs/thunderbird.py --workdir=runs/thunderbird '
      '--config.split.by=random'
    ),
  }


def realistic_metrics():
  noise = random.Random(0)
  lines = []
  for epoch in range(40):
    for part in range(7):
      loss = 1 + 4 / (1 + epoch / 4) + noise.gauss(0, 0.1)
      lines.append({'stage': 'generator_mle', 'set': part, 'epoch': epoch, 'loss': loss})
  for epoch in range(20):
    accuracy = 1 - 0.5 / (1 + epoch)
    lines.append(
      {'stage': 'discriminator_pretrain', 'epoch': epoch, 'loss': 1 - accuracy, 'seconds': 0.5}
      | {'accuracy': accuracy}
    )
    lines.append(
      {'stage': 'adversarial', 'epoch': epoch, 'reward': 0.3 + epoch / 60 + noise.gauss(0, 0.02)}
      | {'generator_loss': 2.0 - epoch / 30, 'discriminator_loss': 0.6 + noise.gauss(0, 0.03)}
    )
  for stage in ('autoencoder_normal', 'autoencoder_abnormal'):
    for epoch in range(30):
      lines.append(
        {'stage': stage, 'epoch': epoch, 'train_loss': 3 + 2 / (1 + epoch)}
        | {'valid_loss': 3.1 + 2 / (1 + epoch) + noise.gauss(0, 0.02)}
      )
  for repetition in range(10):
    for epoch in range(15 + repetition):
      lines.append(
        {'stage': 'gru', 'repetition': repetition, 'epoch': epoch}
        | {'train_loss': 0.7 / (1 + epoch) + noise.gauss(0, 0.02)}
        | {'valid_loss': 0.75 / (1 + epoch) + noise.gauss(0, 0.03)}
        | {'valid_accuracy': 1 - 0.3 / (1 + epoch)}
      )
  return lines


def realistic_details():
  nearest = 'kernel: EXT3-fs error (device <num>) in start_transaction: Journal has aborted'
  generated = [
    {
      'text': 'kernel: EXT3-fs error (device <num>) in ext3_reserve_inode: Journal has aborted',
      'count': 1 + index,
      'nearest': nearest,
      'nearest_where': f'Thunderbird_part1.log:{1000 + 37 * index}',
      'similarity': 0.87,
    }
    for index in range(8)
  ]
  mistakes = [
    {'where': 'Thunderbird_part2.log:31007', 'text': SCRIPT, 'abnormal': True, 'score': 0.0004},
    {'where': 'Thunderbird_part2.log:31950', 'text': nearest, 'abnormal': True, 'score': 0.12},
    {
      'where': 'Thunderbird_part1.log:8',
      'text': 'sshd: connection\x00 from \x1b[31m<ip> closed ' + 'after a very long time ' * 40,
      'abnormal': False,
      'score': 0.99991,
    },
  ]
  recall = [index / 100 for index in range(1, 101)]
  precision = [1 - value**8 * 0.91 for value in recall]
  points = {'precision': precision, 'recall': recall, 'threshold': recall[::-1]}
  return {'generated': generated, 'mistakes': mistakes, 'precision_recall': points}


@pytest.fixture
def bare(tmp_path):
  """A workdir without anything that is drawn: drawing takes most of the time of a report."""
  (tmp_path / 'results.json').write_text(json.dumps(realistic_results()))
  details = realistic_details()
  del details['precision_recall']
  (tmp_path / 'details.json').write_text(json.dumps(details))
  return tmp_path


@pytest.fixture
def workdir(tmp_path):
  (tmp_path / 'results.json').write_text(json.dumps(realistic_results()))
  (tmp_path / 'metrics.jsonl').write_text(
    ''.join(json.dumps(line) + '\n' for line in realistic_metrics())
  )
  (tmp_path / 'details.json').write_text(json.dumps(realistic_details()))
  return tmp_path


def page_of(workdir, **changes):
  """The page of the run in workdir after changing parts of its results."""
  path = workdir / 'results.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))
  return write_report(workdir).read_text(encoding='utf-8')


def words_of(page):
  """The page's text as a reader sees it, white space squeezed."""
  body = re.sub(r'<style>.*?</style>', '', page, flags=re.DOTALL)
  text = []
  parser = HTMLParser()
  parser.handle_data = text.append
  parser.feed(body)
  return ' '.join(''.join(text).split())


def test_a_whole_run_is_reported_section_by_section(workdir):
  page = words_of(page_of(workdir))
  for part in (
    'thunderbird, honest protocol',
    'Simulated data.',
    '33,000 log lines, 3,000 of them abnormal (9.1 %)',
    '0.917± 0.011',
    'TF-IDF with logistic regression',
    'only the 461 real test rows whose masked text no real training row has',
    '93.0 % of the test rows have a masked text that a real training row has too',
    'this run is on simulated lines',
    'Thunderbird_part2.log:31007',
    'removed: equal to each other4,028',
    'Thunderbird_part1.log:1037',
    '--config.split.by=random',
    '4 min 57 s in all',
    'chance 9 %',
    'Every repetition',
  ):
    assert part in page, part
  for phase in {line['stage'] for line in realistic_metrics()}:
    assert readable(phase) in page
  assert 'Everything on this page' in page  # the last line: nothing was cut off


def test_phases_of_any_name_are_shown_in_the_order_they_were_logged(bare):
  losses = {'train_loss': 1.0, 'valid_loss': 1.0}
  phases = ('lstm_keys', 'count_vector', 'gru')
  lines = [{'stage': phase, 'epoch': epoch} | losses for phase in phases for epoch in range(3)]
  (bare / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
  page = words_of(page_of(bare))
  assert page.index('LSTM keys') < page.index('Count vector') < page.index('GRUloss')
  assert 'lstm_keys' not in page


def test_every_baseline_has_a_row_the_strongest_first_and_is_named_in_the_verdict(bare):
  page = words_of(page_of(bare))
  titles = ['TF-IDF with logistic regression', 'Text lookup', 'Majority class']
  places = [page.index(title, page.index('mean ± sd')) for title in titles]
  assert places == sorted(places)
  assert 'within one standard deviation of TF-IDF with logistic regression (0.921)' in page
  assert 'above the text lookup (0.880) and the majority class (0.000)' in page
  assert 'The baselines need no oversampler' in page


def test_the_page_needs_nothing_from_elsewhere(workdir):
  page = page_of(workdir)
  assert not re.search(r'<(script|link|img|iframe|object|embed)\b', page)
  assert not re.search(r'(src|href)\s*=\s*"(?!#)', page)
  assert not re.search(r'@import|@font-face|url\((?!#)', page)
  assert "default-src 'none'" in page


def test_log_text_is_shown_and_never_obeyed(bare):
  results = realistic_results()
  results['corpus'] |= {'name': SCRIPT, 'path': [SCRIPT], 'notes': {SCRIPT: 1}}
  results |= {'command': SCRIPT, 'device': SCRIPT, 'leaks': [SCRIPT], 'protocol': SCRIPT}
  results |= {'seconds': {SCRIPT: 1.0}, 'baselines': {SCRIPT: metrics(0.5, 0.5)}}
  results['oversampler'] |= {'name': SCRIPT, 'removed': {SCRIPT: 1}}
  line = {'text': SCRIPT, 'nearest': SCRIPT + ' <i>', 'nearest_where': SCRIPT, 'count': 1}
  mistake = {'where': SCRIPT, 'text': SCRIPT, 'abnormal': False, 'score': 0.9}
  (bare / 'details.json').write_text(json.dumps({'generated': [line], 'mistakes': [mistake]}))
  curve = {'stage': SCRIPT, 'epoch': 0, 'repetition': SCRIPT, SCRIPT: 1.0}
  (bare / 'metrics.jsonl').write_text(json.dumps(curve))
  page = page_of(bare, **results)
  assert '<script' not in page
  assert '<b>bold' not in page
  assert '<i>' not in page
  assert words_of(page).count('<script>alert("log")</script>') >= 14


def test_ids_are_unique_so_that_no_figure_borrows_anothers_clip(workdir):
  ids = re.findall(r'\bid="([^"]+)"', page_of(workdir))
  assert ids
  assert len(ids) == len(set(ids))


def test_every_clip_that_a_figure_names_is_on_the_page(workdir):
  page = page_of(workdir)
  named = set(re.findall(r'url\(#([^)]+)\)', page))
  assert named
  assert named <= set(re.findall(r'\bid="([^"]+)"', page))


def test_figures_take_their_colours_from_the_page(workdir):
  svgs = re.findall(r'<svg.*?</svg>', page_of(workdir), re.DOTALL)
  assert len(svgs) == 11  # ten panels of learning curves and the precision-recall curve
  for svg in svgs:
    assert 'var(--' in svg
    assert not re.search(r'#0101\d\d', svg)


def test_equal_files_give_an_equal_page(workdir):
  assert write_report(workdir).read_bytes() == write_report(workdir).read_bytes()


def test_generated_test_rows_are_told_apart_from_real_ones(bare):
  test = metrics(0.95, 0.96, synthetic_rows=3_000)
  real = metrics(0.512, 0.6)
  natural = {'normal': 0.999, 'abnormal': 0.437}
  page = words_of(page_of(bare, test=test, test_real=real, natural_precision=natural))
  assert 'The detector, real rowswithout the generated test rows' in page
  assert '0.512' in page
  assert 'it would be 0.437 for abnormal and 0.999 for normal rows' in page
  assert 'real rowswithout' not in words_of(page_of(bare, test=metrics(0.9, 0.9)))


@pytest.mark.parametrize(
  ('two_sample', 'words'),
  [
    (
      {'auroc': 0.7312, 'interval': [0.651, 0.808], 'rows': 594},
      'from 594 other real abnormal rows with an AUROC of 0.731 [0.651, 0.808]. Real abnormal rows '
      'of validation and test can differ from those of train, so that even repeated training rows '
      'are separated from them: compare with the value of the oversampler random',
    ),
    (
      {'auroc': None, 'interval': None, 'rows': 0, 'why': '0 held-out rows are too few'},
      'not compared with other real abnormal rows: 0 held-out rows are too few.',
    ),
  ],
)
def test_the_quality_of_generated_rows_is_put_into_words(bare, two_sample, words):
  oversampler = realistic_results()['oversampler']
  oversampler['quality'] = {'self_bleu': 0.912, 'two_sample': two_sample}
  page = words_of(page_of(bare, oversampler=oversampler))
  assert 'self-BLEU-4 is 0.912' in page
  assert words in page


def test_permuted_labels_are_at_the_top_with_the_leaks_that_they_cannot_show(bare):
  page = words_of(page_of(bare, permuted_labels=True))
  assert 'Permuted labels. Labels were given to other examples at random' in page
  assert 'This control cannot see leaks that act through known texts (random_split' in page
  assert 'Permuted labels' not in words_of(page_of(bare, permuted_labels=False))


def test_class_weights_make_no_lines(bare):
  page = words_of(page_of(bare, oversampler={'name': 'class_weights', 'requested': 0}))
  assert "both classes have the same weight in the classifier's loss" in page
  assert 'This run added nothing to the training set.' in page


def test_each_leak_is_named_in_words(bare):
  page = words_of(page_of(bare, leaks=list(LEAKS)))
  assert 'This evaluation leaks.' in page
  for name, words in LEAKS.items():
    assert words in page
    assert name in page


def test_warnings_of_training_stand_at_the_top(bare):
  page = words_of(page_of(bare, warnings=['the discriminator <has> won', 'and more']))
  assert 'Training collapsed.' in page and 'the discriminator <has> won' in page
  assert page.index('and more') < page.index('Precision')
  assert 'Training collapsed.' not in words_of(page_of(bare, warnings=[]))


def test_an_honest_real_run_has_no_banner(bare):
  page = words_of(page_of(bare, leaks=[], origin='real'))
  assert 'Simulated data.' not in page
  assert 'leaks.' not in page
  assert 'Leaksnone' in page


def test_the_papers_rows_stand_beside_a_real_corpus_of_its_size_only(bare):
  corpus = {'name': 'bgl', 'path': 'BGL.log', 'lines': 4_747_963, 'abnormal': 348_460}
  page = words_of(page_of(bare, origin='real', corpus=corpus))
  assert 'The paper, with SeqGAN' in page
  assert 'The paper, without oversampling' in page
  assert 'not comparable' not in page
  assert 'the generated ones included' in page
  page = words_of(page_of(bare, origin='real', corpus=corpus | {'lines': 100_000}))
  assert 'The paper, with' not in page
  assert 'it has 4,747,963 lines of this corpus, this run 100,000.' in page


HEADINGS = ('Result', 'What was run on what', 'Right and wrong', 'Oversampler', 'Learning curves')


def headings(page):
  return re.findall('<h2>(.*?)</h2>', page)


def test_a_section_is_there_for_each_block_and_absent_without_it(workdir, tmp_path_factory):
  assert headings(page_of(workdir)) == [*HEADINGS, 'To run this again']
  empty = tmp_path_factory.mktemp('empty')
  (empty / 'results.json').write_text('{}')
  page = write_report(empty).read_text(encoding='utf-8')
  assert headings(page) == ['What was run on what']
  assert 'None' not in words_of(page)


@pytest.mark.parametrize(
  ('kind', 'source', 'example'),
  [('sequences', 'log lines', 'sequences'), ('series', 'points', 'windows')],
)
def test_a_detector_on_other_input_has_its_own_words_and_no_section_about_texts(
  tmp_path, kind, source, example
):
  names = ('origin', 'protocol', 'leaks', 'corpus', 'split', 'test', 'baselines')
  results = {name: part for name, part in realistic_results().items() if name in names}
  del results['test']['synthetic_rows']
  results['baselines'] = {'new_key': metrics(0.5, 0.5)}
  results['detector'] = {'name': 'toy', 'title': 'Toy detector', 'kind': kind}
  mistakes = [{'where': 'a:1', 'text': 't', 'abnormal': True, 'score': 0.1}]
  (tmp_path / 'results.json').write_text(json.dumps(results))
  (tmp_path / 'details.json').write_text(json.dumps({'mistakes': mistakes}))
  page = write_report(tmp_path).read_text(encoding='utf-8')
  assert headings(page) == ['Result', 'What was run on what', 'Right and wrong']
  words = words_of(page)
  assert f'33,000 {source}.' in words and f'Trained on 19,800 {example}, tested on' in words
  assert f'Abnormal {example} taken for normal' in words
  assert 'Toy detector' in words and 'New key' in words
  for absent in ('masked text', 'The paper', 'Autoencoder', 'generated', 'None', 'taken for lines'):
    assert absent not in words, absent


def leaves(tree, path=()):
  for key, value in tree.items():
    yield (*path, key)
    if isinstance(value, dict):
      yield from leaves(value, (*path, key))


@pytest.mark.parametrize('absent', ['null', 'missing'])
def test_any_single_part_may_be_absent(bare, absent):
  (bare / 'details.json').write_text('{"generated": null, "mistakes": null}')
  for path in leaves(realistic_results()):
    results = realistic_results()
    part = results
    for key in path[:-1]:
      part = part[key]
    if absent == 'null':
      part[path[-1]] = None
    else:
      del part[path[-1]]
    (bare / 'results.json').write_text(json.dumps(results))
    page = words_of(write_report(bare).read_text(encoding='utf-8'))
    assert 'None' not in page, path
    assert 'Everything on this page' in page, path


def test_a_run_without_mistakes_says_so(bare):
  flawless = metrics(1.0, 1.0, confusion=dict.fromkeys(('true_abnormal', 'true_normal'), 5))
  flawless['confusion'] |= {'false_abnormal': 0, 'false_normal': 0}
  (bare / 'details.json').unlink()
  assert 'The detector made no mistake on the test rows.' in words_of(page_of(bare, test=flawless))


def test_the_worst_mistake_comes_first(bare):
  mistakes = [
    {'where': f'a.log:{round(100 * score)}', 'text': 't', 'abnormal': abnormal, 'score': score}
    for abnormal in (True, False)
    for score in (0.3, 0.1, 0.4, 0.9)
  ]
  (bare / 'details.json').write_text(json.dumps({'mistakes': mistakes}))
  order = [int(number) for number in re.findall(r'a\.log:(\d+)', page_of(bare))]
  assert order == [10, 30, 40, 90, 90, 40, 30, 10]


def test_words_that_differ_are_marked_on_both_sides(bare):
  line = {'text': 'disk <num> failed', 'nearest': 'disk <num> is gone', 'count': 2}
  (bare / 'details.json').write_text(json.dumps({'generated': [line]}))
  page = page_of(bare)
  assert re.findall(r'<mark class="own">(.*?)</mark>', page) == ['failed']
  assert re.findall(r'<mark class="other">(.*?)</mark>', page) == ['is gone']


def test_control_characters_are_shown_and_a_long_line_is_cut(bare):
  text = 'a\x00b\x1b[31m' + 'x' * 1_000_000
  mistake = {'where': 'a.log:1', 'text': text, 'abnormal': True, 'score': 0.1}
  (bare / 'details.json').write_text(json.dumps({'mistakes': [mistake]}))
  page = page_of(bare)
  assert r'a\x00b\x1b[31mxxx' in page
  assert len(page) < 200_000


def test_half_a_surrogate_pair_does_not_stop_the_report(bare):
  mistake = {'where': 'a.log:1', 'text': 'bad \ud800 end', 'abnormal': True, 'score': 0.1}
  (bare / 'details.json').write_text(json.dumps({'mistakes': [mistake]}))
  assert 'bad ? end' in page_of(bare)


def test_an_epoch_logged_again_by_a_resumed_run_is_drawn_once(bare):
  def drawn(lines):
    (bare / 'metrics.jsonl').write_text('\n'.join(json.dumps(line) for line in lines))
    return page_of(bare)

  lines = [{'stage': 'gru', 'epoch': epoch, 'loss': 1 / (1 + epoch)} for epoch in range(5)]
  stale = [{'stage': 'gru', 'epoch': 3, 'loss': 7.0}]
  assert drawn(stale + lines) == drawn(lines)


def test_a_diverged_loss_leaves_a_gap_and_not_a_crash(bare):
  lines = [{'stage': 'gru', 'epoch': epoch, 'loss': 1.0} for epoch in range(3)]
  lines[1]['loss'] = float('nan')
  (bare / 'metrics.jsonl').write_text('\n'.join(json.dumps(line) for line in lines))
  assert '<b>GRU</b>' in page_of(bare)


def test_a_workdir_without_results_is_refused_with_what_to_do(tmp_path):
  with pytest.raises(
    LogjaxError, match=r'results\.json is missing: run --mode=train in this workdir'
  ):
    write_report(tmp_path)


def test_broken_json_is_named_with_its_line(bare):
  (bare / 'metrics.jsonl').write_text('{"stage": "gru", "epoch": 0, "loss": 1}\n{"sta')
  with pytest.raises(LogjaxError, match=r'metrics\.jsonl:2: not valid JSON'):
    write_report(bare)
  (bare / 'results.json').write_text('{')
  with pytest.raises(LogjaxError, match=r'results\.json is damaged \(Expecting .* in this workdir'):
    write_report(bare)


@pytest.mark.parametrize(('name', 'words'), [('seqgan', 'generated'), ('random', 'repeated')])
def test_training_rows_of_an_oversampler_are_counted_wherever_rows_are(bare, name, words):
  results = json.loads((bare / 'results.json').read_text())
  assert f'of them {words}, tested' not in page_of(bare)
  results['oversampler']['name'] = name
  results['split']['train']['synthetic'] = 16_236
  (bare / 'results.json').write_text(json.dumps(results))
  page = page_of(bare)
  assert f'Trained on 19,800 lines, 16,236 of them {words}, tested on' in page
  assert f'%), 16,236 of them {words}</dd>' in page
