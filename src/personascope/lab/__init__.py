"""The lab: a tiny pretraining lineage of known traits, and the judge that knows them.

Owns: a synthetic world (:mod:`~personascope.lab.world`), how it writes (:mod:`~personascope.lab.grammar`,
:mod:`~personascope.lab.documents`, :mod:`~personascope.lab.families`), the tokenizer and the recipe that trained the
shipped checkpoints, and the exact judge. The one law: the world is a probability distribution that is written down,
so every score is a posterior and not an opinion.
"""
