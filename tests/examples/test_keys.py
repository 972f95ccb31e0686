"""Drain: from token texts to templates."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logjax.examples.keys import WILDCARD, fit_templates
from logjax.examples.text import Masks, read_texts

BLOCKS = ['receive block from <ip> ok', 'receive block from host ok', 'send block to <ip> now']


def templates(*texts, **options):
  return fit_templates(pl.Series(texts, dtype=pl.String), **options).templates


def fits(template, text):
  pairs = zip(template.split(' '), text.split(' '), strict=True)
  return all(expected in (token, WILDCARD) for expected, token in pairs)


def test_tokens_that_differ_in_a_group_become_wildcards():
  assert templates(*BLOCKS) == ['receive block from <*> ok', 'send block to <ip> now']


def test_texts_of_unequal_length_never_share_a_template():
  assert templates('a b c', 'a b c d') == ['a b c', 'a b c d']


def test_a_text_joins_its_group_from_the_threshold_on():
  # 2 of 5 tokens are equal: 0.4, which is enough.
  assert templates('a b c d e', 'a b x y z') == ['a b <*> <*> <*>']
  assert templates('a b c d e', 'a b x y z', similarity=0.41) == ['a b c d e', 'a b x y z']


def test_a_wildcard_counts_as_different():
  # a b <*> <*> e shares 2 of 5 tokens with the last text, and <*> adds nothing to them.
  texts = ['a b c d e', 'a b x y e', 'a b p q r']
  assert templates(*texts, similarity=0.6) == ['a b <*> <*> e', 'a b p q r']


def test_a_text_joins_the_nearest_group_and_the_oldest_of_equals():
  texts = ['a b c d e f', 'a b p q r s', 'a b c d r x']
  assert templates(*texts, similarity=0.5) == ['a b c d <*> <*>', 'a b p q r s']
  assert templates('a b c d', 'a b p q', 'a b c q', similarity=0.75) == ['a b c <*>', 'a b p q']


def test_the_first_two_tokens_tell_groups_apart_at_depth_four_and_one_at_depth_three():
  texts = ['a b c d e', 'a x c d e']
  assert templates(*texts) == texts
  assert templates(*texts, depth=3) == ['a <*> c d e']


def test_first_tokens_with_digits_share_a_branch():
  assert templates('n1 b c', 'n2 b c', 'n b c') == ['<*> b c', 'n b c']


def test_a_full_node_sends_new_tokens_to_the_wildcards_branch():
  texts = ['a y c', 'b y c', 'd y c', 'e y c', 'a z c']
  # Two words and the wildcard; of a's two branches both have room.
  assert templates(*texts, max_children=3) == ['a y c', 'b y c', '<*> y c', 'a z c']
  assert templates(*texts, max_children=100) == texts


def test_an_empty_text_is_a_template_of_its_own():
  drain = fit_templates(pl.Series(['', 'a', 'b']))
  assert drain.apply(pl.Series(['', 'a', 'b', 'c'])).to_list() == ['', 'a', 'b', 'c']


def test_no_text_gives_no_template():
  drain = fit_templates(pl.Series([], dtype=pl.String))
  assert drain.templates == []
  assert drain.apply(pl.Series(['a b'])).to_list() == ['a b']


def test_a_text_that_fits_no_template_stays_as_it_is():
  drain = fit_templates(pl.Series(BLOCKS))
  new = ['receive block from elsewhere ok', 'receive block from <ip> late', 'other', 'a b c d e']
  assert drain.apply(pl.Series(new)).to_list() == ['receive block from <*> ok', *new[1:]]
  assert drain.templates == templates(*BLOCKS)  # applying does not fit


def test_the_template_with_most_tokens_in_common_is_taken_and_the_oldest_of_equals():
  texts = ['a b c d e f', 'a b z d y f', 'a b p q r f', 'a b p s r f']
  drain = fit_templates(pl.Series(texts), similarity=0.6)
  assert drain.templates == ['a b <*> d <*> f', 'a b p <*> r f']
  assert drain.apply(pl.Series(['a b p d r f'])).to_list() == ['a b p <*> r f']
  drain = fit_templates(pl.Series(['a b c d', 'a b x y', 'a b c e', 'a b q y']), similarity=0.75)
  assert drain.templates == ['a b c <*>', 'a b <*> y']
  assert drain.apply(pl.Series(['a b c y'])).to_list() == ['a b c <*>']


TEXTS = st.lists(
  st.lists(st.sampled_from(['a', 'b', 'c', 'n1', '<num>']), max_size=5).map(' '.join), unique=True
)


@given(TEXTS, st.integers(2, 4), st.sampled_from([0.2, 0.4, 0.8, 1.0]))
def test_every_fitted_text_becomes_a_template_that_it_fits(texts, max_children, similarity):
  series = pl.Series(texts, dtype=pl.String)
  drain = fit_templates(series, max_children=max_children, similarity=similarity)
  parsed = drain.apply(series).to_list()
  assert set(parsed) <= set(drain.templates)
  assert all(map(fits, parsed, texts))
  assert len(drain.templates) <= len(texts)
  assert all(len(node) <= max_children for node in drain.branches.values())


@given(TEXTS)
def test_at_similarity_one_every_text_is_its_own_template(texts):
  series = pl.Series(texts, dtype=pl.String)
  assert fit_templates(series, similarity=1.0).apply(series).to_list() == texts


MESSAGES = ['job a went on fine', 'job b went on fine', 'job c went on fine', 'halt 7', 'halt 8']


def test_real_lines_have_far_fewer_templates_than_texts(shared_data):
  path = shared_data / 'bgl' / 'BGL_100k.log'
  if not path.exists():
    pytest.skip(f'{path} does not exist')
  lines = pl.Series(path.read_text(errors='replace').splitlines()[:20_000])
  texts = read_texts(
    lines.str.splitn(' ', 10).struct.field('field_9').fill_null(''), Masks(numbers='keep')
  )
  drain = fit_templates(texts.texts)
  parsed = drain.apply(texts.texts)
  assert parsed.is_in(pl.Series(drain.templates).implode()).all()
  assert parsed.n_unique() < 0.05 * len(texts.texts)
