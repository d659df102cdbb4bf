"""The tools, each in a module of its own."""

from . import doit, dvc, graftwork, redun, snakemake, tango

TOOLS = [
    graftwork.Graftwork(),
    dvc.Dvc(),
    snakemake.Snakemake(),
    redun.Redun(),
    doit.Doit(),
    tango.Tango(),
]
