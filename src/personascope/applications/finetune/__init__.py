"""Fine-tuning that is watched and guarded: preventative steering, ablation, a penalty on drift, live projections.

Source: "Persona Vectors" §5.2 and appendices J.1 to J.7. What is here works with any loop over a transformers model,
with its ``Trainer``, with TRL's ``SFTTrainer``, and with PEFT's wrapped models: ``docs/training.md``.
"""
