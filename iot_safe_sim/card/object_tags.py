"""Which tags name an object of each kind."""

from __future__ import annotations

from typing import NamedTuple

from iot_safe_sim.card.objects import AnyObject, File, PrivateKey, PublicKey, Secret
from iot_safe_sim.interface import Tag


class ObjectTags(NamedTuple):
    """Tags of an object's entry in the object list, of its label, and of its identifier."""

    entry: Tag
    label: Tag
    id: Tag

    @property
    def reference(self) -> set[int]:
        """The two tags by which a command may name an object of this kind."""
        return {self.label, self.id}


OBJECT_TAGS: dict[type[AnyObject], ObjectTags] = {
    PrivateKey: ObjectTags(Tag.PRIVATE_KEY_ENTRY, Tag.PRIVATE_KEY_LABEL, Tag.PRIVATE_KEY_ID),
    PublicKey: ObjectTags(Tag.PUBLIC_KEY_ENTRY, Tag.PUBLIC_KEY_LABEL, Tag.PUBLIC_KEY_ID),
    Secret: ObjectTags(Tag.SECRET_ENTRY, Tag.SECRET_LABEL, Tag.SECRET_ID),
    File: ObjectTags(Tag.FILE_ENTRY, Tag.FILE_LABEL, Tag.FILE_ID),
}
