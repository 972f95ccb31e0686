"""The facts of the catalog: published addresses and checksums, patterns, the paper's corpora."""

import re
import subprocess
import sys

import pytest

from logjax.corpora.catalog import CATALOG, RECORD
from logjax.corpora.fields import FIELDS, named_groups
from logjax.corpora.labels import BLOCK_LABEL_FILES, LineLabels
from logjax.corpora.simulated import openstack
from logjax.reports.paper import TABLES

entries = pytest.mark.parametrize('entry', CATALOG.values(), ids=list(CATALOG))


@pytest.mark.parametrize(
  ('corpus', 'name', 'md5'),
  [
    ('bgl', 'BGL.zip', '4452953c470f2d95fcb32d5f6e733f7a'),
    ('thunderbird', 'Thunderbird.tar.gz', '0891b048df2919dc78c99c4428686b44'),
    ('openstack', 'OpenStack.tar.gz', '66bd42c07837a094d9b0ea2d036b5713'),
    ('hdfs', 'HDFS_v1.zip', '76a24b4d9a6164d543fb275f89773260'),
  ],
)
def test_addresses_and_checksums_are_the_published_ones(corpus, name, md5):
  archive = CATALOG[corpus].archive
  assert (archive.name, archive.md5) == (name, md5)
  assert archive.url == f'https://zenodo.org/records/8196385/files/{name}'


def test_the_checksum_and_size_of_bgl_are_the_published_ones():
  archive = CATALOG['bgl'].archive
  assert archive.sha256 == 'd67fd82a711aea0157a9b83175892c6ee60e384a2ddf5bc51f39118453816da8'
  assert archive.size == 57_489_019


@entries
def test_every_entry_is_complete(entry):
  assert entry.archive.url.startswith(RECORD)
  assert re.fullmatch('([0-9a-f]{64})?', entry.archive.sha256)
  assert entry.archive.label_file in ('', *BLOCK_LABEL_FILES)
  assert entry.citation.count('@inproceedings') == 2 and 'Loghub' in entry.citation
  assert set(named_groups(entry.format.whole_line)) <= set(FIELDS)
  assert LineLabels(entry.labels, frozenset({'x'})).kind == entry.labels
  assert (entry.labels == 'instance') == bool(entry.abnormal_instances)
  assert (entry.grammar is None) == (entry.abnormal_share == 0)


def test_the_tables_of_the_paper_are_found_by_the_catalog():
  assert {entry.paper.table for entry in CATALOG.values()} - {''} == set(TABLES)


def test_the_simulator_injects_faults_into_the_published_instances():
  assert CATALOG['openstack'].abnormal_instances == set(openstack.FAULTS)


def test_the_catalog_imports_nothing_slow():
  code = 'import sys, logjax.corpora.catalog; print(*sys.modules)'
  command = [sys.executable, '-c', code]
  modules = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
  assert not {'polars', 'numpy', 'jax', 'tensorflow_datasets', 'pooch'} & set(modules)
