"""The comparison of two runs as text: Markdown, and tables for a terminal."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from cxrobust.comparison.parts import Part, parts
from cxrobust.comparison.runs import Paired, Run
from cxrobust.reports.markdown import markdown
from cxrobust.reports.parts import Table
from cxrobust.reports.words import plain


def show(old: Run, new: Run, paired: Paired) -> None:
    """Print the comparison as text and tables; of the conclusions and the paired test only what changed or is shown."""
    console = Console()
    for part in parts(old, new, paired):
        console.print(f"[bold]{escape(part.title)}[/bold]")
        for paragraph in part.paragraphs:
            console.print(escape(plain(paragraph)))
        groups = [] if part.table is None else list(part.table.groups)
        if part.table is not None and part.table.key in {"conclusions", "paired"}:
            groups = [group for group in groups if any(cell.look == "key" for cells in group.rows for cell in cells)]
        if part.table is not None and groups:
            printed = RichTable(box=None, pad_edge=False, header_style="dim")
            for column in part.table.columns:
                printed.add_column(escape(column.title), overflow="fold")
            for group in groups:
                for cells in group.rows:
                    printed.add_row(*(escape(plain(text)) for text in (group.head, *(cell.text for cell in cells))))
            console.print(printed)
        console.print()


def to_markdown(title: str, lines: Sequence[str], found: Sequence[Part]) -> str:
    """Return the comparison as Markdown."""
    out = [f"# {markdown(title)}", "", *lines, ""]
    for part in found:
        out += [f"## {part.title}", ""]
        for paragraph in part.paragraphs:
            out += [markdown(plain(paragraph)), ""]
        if part.table is not None:
            out += [*_markdown_table(part.table), "", f"*{markdown(plain(part.caption))}*", ""]
    return "\n".join(out).rstrip() + "\n"


def _markdown_table(table: Table) -> list[str]:
    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(markdown(plain(cell)) for cell in cells)} |"

    rows = [line(column.title for column in table.columns), f"|{' --- |' * len(table.columns)}"]
    for group in table.groups:
        for cells in group.rows:
            bold = any(cell.look == "key" for cell in cells)
            texts = [group.head, *(cell.text for cell in cells)]
            made = line(texts)
            rows.append(
                made if not bold else "| " + " | ".join(f"**{part}**" for part in made[2:-2].split(" | ")) + " |"
            )
    return rows
