"""One file a method: what it sets whatever the corpus, each field with its source.

`fields(config, ...)` returns the fields that make the method; `config` holds the corpus' sizes, and
further arguments may be given after the method's name. `RECIPE` is how its paper trains it, applied
with `recipe=paper`; `BUDGET` are sizes of its own, which corpus and command line may change.
"""
