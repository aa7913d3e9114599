"""Collections as programs search them: queries put as the contract says, the alias followed.

Doors: `collection.Collection`, `async_collection.AsyncCollection`, `hits.Hits`. It does not know
where settings come from, nor who runs the embedding server.
"""
