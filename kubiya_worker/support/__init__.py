"""The support bundle: one archive of facts about this host's workers, without secrets, for the person who helps."""
