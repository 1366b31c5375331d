"""Low-rank adapters through a mapping: the factors of a weight follow the weight's own moves.

Names are told (``names``, ``modules``, ``groups``), a config says the scale (``config``), tensors become
factors, differences and products under the model's names (``adapter``, ``shaped``, ``experts``); these follow
the moves (``follow``, ``results``), and are written as a reader takes them (``write``, ``peft_config``).
"""
