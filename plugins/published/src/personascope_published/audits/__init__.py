"""The families of problems the audit looks for, one small file each.

Owns: nothing but the list of them, in :mod:`personascope_published.audit`. The one law: a family finds its problem from
the data alone: no file, model, trait or checkpoint is known by name.
"""
