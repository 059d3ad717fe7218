"""Problems that the user can mend."""


class MGGTalkError(Exception):
    """Base of all errors whose text is one line that says what is wrong and what to do."""


class InputError(MGGTalkError):
    """A picture, clip, sound, file or setting that cannot be used as given."""


class WeightsError(MGGTalkError):
    """A weight file that could not be found, fetched or trusted."""
