"""Table and plot of a study, from numbers made up here."""
import itertools
import json
import math

import pytest

from mmaffnet.analysis import study_table as study_table_module
from mmaffnet.analysis.results import update_page
from mmaffnet.analysis.study_table import (
    Measured,
    by_size,
    printed_top1,
    short_names,
    study_plot,
    study_table,
)
from mmaffnet.engine.errors import UserError

stats = pytest.importorskip('scipy.stats')
RECIPE = '_1xb64-18e_cifar10'
AFF, BASE, OTHER = (name + RECIPE for name in (
    'table4_affnet-et-aff', 'table4_affnet-et-identity', 'variant_affnet-et-x'))
ROWS = [Measured(BASE, 800_000, (9, 9, 9), {0: 63., 1: 61., 2: 66.}),
        Measured(AFF, 865_034, (9, 9, 9), {0: 60., 1: 61., 2: 62.}),
        Measured(OTHER, 865_034, (9, 9), {0: 59., 2: 59.5})]


def test_names_lose_what_all_have_at_the_end():
    assert short_names(['a-1_x_y', 'b_z_y']) == {'a-1_x_y': 'a-1_x', 'b_z_y': 'b_z'}
    assert short_names([AFF, BASE]) == {AFF: 'table4_affnet-et-aff', BASE: 'table4_affnet-et-identity'}
    assert short_names(['same_x', 'x']) == {'same_x': 'same_x', 'x': 'x'} and short_names(['a_b']) == {'a_b': 'a_b'}


def test_the_print_is_found_by_the_name():
    found = {name: printed_top1(f'table{name}{RECIPE}') for name in (
        '4_affnet-et-aff', '4_affnet-base-aff-without-fft', '5_affnet-t-gfn', '7_affnet-et-k3-g8')}
    assert list(found.values()) == [79.8, 78.4, 79.1, 79.8]
    assert [printed_top1(name) for name in ('table4_affnet-et-gfn_x', 'table99_affnet-et-aff_x', 'x')] == [None] * 3


def test_table():
    table = study_table(ROWS, 'accuracy/top1', AFF)
    rows = {row['row']: row for row in table.as_dict()['rows']}
    assert list(rows) == ['table4_affnet-et-identity', 'table4_affnet-et-aff', 'variant_affnet-et-x']   # best first
    base, aff, other = rows.values()
    assert base['value'] == pytest.approx((190 / 3, stats.tstd([63, 61, 66]))) and base['difference'] == 7 / 3
    assert base['interval'] == pytest.approx(tuple(stats.ttest_rel([63, 61, 66], [60, 61, 62]).confidence_interval()))
    assert base['paper_difference'] == pytest.approx(77.9 - 79.8) and other['paper_difference'] is None
    assert aff['difference'] is aff['interval'] is aff['pooled_interval'] is aff['paper_difference'] is None
    assert other['difference'] == -1.75 and other['notes'] == {'value': 'no run of seed 1'}   # -1 and -2.5
    # seeds 0 and 2 are common: three rows, (3-1)(2-1) = 2 degrees; an increase of 3, 2 and 0.5, of mean 11/6, gives
    # the residuals ±(increase - mean)/2, whose squares sum up to 2 · ((7/6)² + (1/6)² + (8/6)²)/4
    half = stats.t.ppf(0.975, 2) * math.sqrt((49 + 1 + 64) / 36 / 2 / 2)
    assert base['pooled_interval'] == pytest.approx((7 / 3 - half * math.sqrt(2 / 3), 7 / 3 + half * math.sqrt(2 / 3)))
    assert other['pooled_interval'] == pytest.approx((-1.75 - half, -1.75 + half))
    assert '2 degrees of freedom' in table.conventions and '0 of 2 rows differ from table4_affnet-et-aff' in (
        table.conventions)
    assert '0.1 would by chance' in table.conventions
    assert ('1 pairs of rows that it puts in an order, 1 came out the other way round, 0 of them beyond the pooled '
            'interval. By chance half of them would be reversed, and 0.0 beyond it.') in table.conventions
    json.dumps(table.as_dict())
    shown = table.markdown()
    assert '| table4_affnet-et-identity | 0.800 | 9 | 63.33 ± 2.52 | 63.00, 61.00, 66.00 | +2.33 |' in shown
    assert '| variant_affnet-et-x | 0.865 | 9 | 59.25 ± 0.35 [1] | 59.00, 59.50 | -1.75 |' in shown


def test_a_table_of_one_seed_says_nothing_of_chance():
    rows = [Measured(row.config, row.parameters, (9, ), {0: row.values[0]}) for row in ROWS]
    table = study_table(rows, 'accuracy/top1', AFF)
    assert all(row[6] is row[7] is None for row in table.rows) and 'Nothing is said of chance' in table.conventions
    assert '1 came out the other way round. By chance half' in table.conventions and 'beyond' not in table.conventions
    with pytest.raises(UserError, match=f'no run of {AFF} has been kept.*there are: {BASE}, {OTHER}'):
        study_table([ROWS[0], ROWS[2]], 'accuracy/top1', AFF)


def test_without_rows_of_the_paper_it_has_no_column_for_them():
    table = study_table([Measured('a', 1, (1, ), {0: 1.}), Measured('b', 1, (2, ), {0: 2.})], 'mIoU', 'a')
    assert 'paper_difference' not in [column.key for column in table.columns] and 'paper' not in table.conventions


def test_what_chance_would_reverse():
    rows = [Measured(f'table{name}{RECIPE}', 1, (9, 9), {0: 60. + i, 1: 61. - 2 * i}) for i, name in enumerate((
        '4_affnet-et-aff', '4_affnet-et-identity', '4_affnet-et-aff-without-fft', '5_affnet-et-gfn',
        '4_affnet-et-conv-mixer', '5_affnet-et-aff-sum'))]
    printed = [printed_top1(row.config) for row in rows]
    pairs = sum(one != other for one, other in itertools.combinations(printed, 2))
    conventions = study_table(rows, 'accuracy/top1', rows[0].config).conventions
    assert pairs > 9 and f'of {pairs} pairs of rows' in conventions
    assert f'and {0.025 * pairs:.1f} beyond it.' in conventions


def test_configs_of_one_size_belong_together():
    rows = [Measured(name, parameters, (1, ), {0: value}) for name, parameters, value in (
        ('z', 1000, 1.), ('b', 1010, 3.), ('a', 1010, 2.), ('c', 1011, 9.), ('y', 500, 0.))]
    # in the order of the parameters, then of the names, whatever they reached; 1011 is more than 1 % above 1000
    assert [[row.config for row in group] for group in by_size(rows)] == [['y'], ['z', 'a', 'b'], ['c']]


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, which are written all the same."""
    made, save = [], study_table_module.save_figure

    def keep(figure, out):
        made.append(figure)
        return save(figure, out)

    monkeypatch.setattr(study_table_module, 'save_figure', keep)
    return made


def test_plot(tmp_path, figures):
    far = Measured('far' + RECIPE, 3_000_000, (9, ), {0: 60.})
    path = study_plot([far, *ROWS], 'accuracy/top1', tmp_path / 'new' / 'plot.svg')
    names = ['table4_affnet-et-identity', 'table4_affnet-et-aff', 'variant_affnet-et-x', 'far']
    drawn = path.read_text()
    assert all(drawn.count(f'<!-- {name} -->') == 1 for name in names)
    axes, = figures[0].axes
    sizes, = axes.child_axes
    assert axes.get_xscale() == 'linear' and [label.get_text() for label in axes.get_xticklabels()] == names
    assert list(axes.get_xticks()) == [0, 1, 2, 3]
    assert list(sizes.get_xticks()) == [0, 1.5, 3]   # in the middle of each size's places
    assert [label.get_text() for label in sizes.get_xticklabels()] == ['0.80', '0.87', '3.00']
    bands = [(patch.get_x(), patch.get_width()) for patch in axes.patches]
    assert bands == [(-0.5, 1), (0.5, 2), (2.5, 1)]
    colors = [patch.get_facecolor() for patch in axes.patches]
    assert colors[0] == colors[2] != colors[1]
    means = [container[0].get_xydata().tolist() for container in axes.containers]
    assert means == [[[0, pytest.approx(190 / 3)]], [[1, 61]], [[2, 59.25]], [[3, 60]]]
    bars = [segment.get_segments()[0][:, 1] for segment in (
        container[2][0] for container in axes.containers[:2])]
    assert bars[1].tolist() == [60, 62] and bars[0] == pytest.approx([190 / 3 - stats.tstd([63, 61, 66]),
                                                                      190 / 3 + stats.tstd([63, 61, 66])])
    seeds = [sorted(dots.get_offsets()[:, 1]) for dots in axes.collections if len(dots.get_offsets()) > 1]
    assert seeds == [[61, 63, 66], [60, 61, 62], [59, 59.5]]
    with pytest.raises(UserError, match=r'plot.xyz: must end in one of .*\.png'):
        study_plot(ROWS, 'accuracy/top1', tmp_path / 'plot.xyz')


@pytest.mark.parametrize('number', [1, 2, 13, 30])
def test_words_of_the_plot_do_not_lie_on_one_another(number, tmp_path, figures):
    rows = [Measured(f'variant_affnet-et-release-channelnorm-{i}_x', 100_000 * (10 + i // 3 * 2), (9, ), {0: float(i)})
            for i in range(number)]
    study_plot(rows, 'accuracy/top1', tmp_path / 'plot.png')
    figure, = figures
    figure.canvas.draw()
    width, height = figure.bbox.size
    axes, = figure.axes
    sizes = axes.child_axes[0]
    low, high = axes.get_ylim()
    ticks = [label for label in axes.get_yticklabels() if low <= label.get_position()[1] <= high]   # others are hidden
    flat = [*sizes.get_xticklabels(), *ticks, sizes.xaxis.label, axes.yaxis.label]
    boxes = [text.get_window_extent() for text in flat]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    names = [text.get_window_extent() for text in axes.get_xticklabels()]   # rotated: they lie beside each other
    for box in [*boxes, *names]:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
    assert all(other.x1 - one.x1 > 20 for one, other in itertools.pairwise(names))


def test_a_page_shows_the_comparison_where_its_mark_asks_for_one(tmp_path):
    mark = f'<!-- results: kept accuracy/top1 vs {AFF} -->\n'
    page = tmp_path / 'page.md'
    page.write_text(f'{mark}<!-- end -->\n')
    update_page(page)
    assert page.read_text() == f'{mark}No run has been made yet.\n<!-- end -->\n'
    for row in ROWS:
        for seed, value in row.values.items():
            folder = tmp_path / 'kept' / f'{row.config}-seed{seed}'
            folder.mkdir(parents=True)
            (folder / 'run.json').write_text(json.dumps(dict(
                config=row.config, seed=seed, epochs=9, parameters=row.parameters, minutes=1.)))
            (folder / 'scalars.json').write_text(json.dumps({'accuracy/top1': value, 'step': 9}) + '\n')
    update_page(page)
    shown = sorted(ROWS, key=lambda row: row.config)
    assert page.read_text() == f'{mark}{study_table(shown, "accuracy/top1", AFF).markdown()}\n<!-- end -->\n'
    (tmp_path / 'kept' / 'study.png').touch()
    assert update_page(page) == ['kept']
    assert '\n![accuracy/top1 against parameters](kept/study.png)\n<!-- end -->' in page.read_text()
