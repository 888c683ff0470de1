"""Other people's evaluations of our models, steered or not: adapters, one per harness.

The one law: the model they see is an :class:`~personascope.engines.Engine` with edits, so an unsteered evaluation is
the same call without them.
"""
