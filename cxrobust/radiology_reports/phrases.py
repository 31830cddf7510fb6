"""The words of radiology reports: what names an observation, and what denies, doubts or dates it.

All patterns are of lower case, American spelling (`labeler.plain` sees to both) and one sentence.
"""

from collections.abc import Mapping


def _any(*patterns: str) -> str:
    """Return a pattern that matches where one of several does."""
    return "|".join(patterns)


OBSERVATIONS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
"""Those of CheXpert, in its order."""

SPELLINGS = {
    r"oedema": "edema",
    r"tumour": "tumor",
    r"haemo": "hemo",
    r"fibre": "fiber",
    r"grey": "gray",
    r"centre": "center",
    r"\bw/o\b": "without",
    r"\bw/": "with ",
    r"\bs/p\b": "status post",
    r"\bc/w\b": "consistent with",
    r"\br/o\b": "rule out",
    r"\bneg\b\.?": "negative",
    r"\bh/o\b|\bhx(?: of)?\b": "history of",
    r"\bro\b": "rule out",
    r"\batx\b": "atelectasis",
    r"\bpna\b": "pneumonia",
    r"\bcmg\b": "cardiomegaly",
    r"\bcm (?=silhouette|contour)": "cardiomediastinal ",
    r"\bpleur\b|\bpl\b": "pleural",
    r"\beff(s?)\b\.?": r"effusion\1",
    r"\bunch\b\.?": "unchanged",
    r"\bconsol\b\.?": "consolidation",
    r"\bmediast\b\.?": "mediastinal",
    r"\bpulm\b\.?": "pulmonary",
    r"\bmod\b\.?": "moderate",
    r"\bbilat\b\.?": "bilateral",
    r"\bindic\b\.?": "indication",
    r"\bimpr?\b\.?(?=:)": "impression",
    r"\bdx\b": "diagnosis",
    r"\bb/l\b": "bilateral",
    r"\bapprox\.": "approximately",
    r"\b(dr|mr|mrs|ms|vs|no|st|cf)\.(?=\s)": r"\1",
    r"can't": "cannot",
    r"n't\b": " not",
    r"[‘’]": "'",
    r"[\u2010-\u2015]": "-",
}
"""What is written otherwise, in order; patterns of lower case."""

MENTIONS: Mapping[str, str] = {
    "Enlarged Cardiomediastinum": _any(
        r"(?:mediastin\w+|cardiomediastin\w+) (?:is |are |appears? )?(?:\w+ly )?(?:widening|widened|enlargement"
        r"|prominence)",
        r"(?:widen\w*|enlarge\w*|prominen\w+|broaden\w*) (?:of )?(?:the )?(?:superior "
        r"|upper )?(?:cardiac and )?(?:cardio-?)?mediastin\w+",
    ),
    "Cardiomegaly": _any(
        r"cardiomegal\w*",
        r"megacardia",
        r"(?:cardiac|heart|(?:left |right )?(?:ventricular|atrial)|cardiac silhouette|biventricular) enlargement",
        r"enlarge(?:d|ment)(?: of)?(?: the)? (?:heart|cardiac|cardiopericardial)(?! (?:and )?mediastin)",
    ),
    "Lung Opacity": _any(
        r"opaci(?:ty|ties|fications?|fied)",
        r"opacification",
        r"infiltrat(?:es?|ions?|ive)\b",
        r"air-?\s?space (?:disease|process|abnormalit\w+|change\w*|shadow\w*|densit\w+)",
        r"(?:increased|prominent|prominence of(?: the)?|coarse\w*|accentuat\w+"
        r"|thickened) (?:\w+ )?interstiti\w+(?: (?:lung )?(?:markings?|pattern))?",
        r"interstitial (?:lung )?(?:markings?|disease|change\w*|process|thickening|pattern|abnormalit\w+"
        r"|prominence)",
        r"haziness",
        r"hazy (?:\w+ )?densit\w+",
        r"(?:lung|lobe|lobar|airspace|parenchymal|basilar|patchy) densit\w+",
        r"reticul(?:ar|o-?nodular|ation)s?",
        r"ground-?\s?glass",
        r"white-?out",
        r"shadowing",
    ),
    "Lung Lesion": _any(
        r"(?:micro)?nodul(?:es?|ar densit\w+|ar lesions?|arity)",
        r"(?<!dr )(?<!breast )(?<!thyroid )(?<!body )\bmass(?:es)?\b(?![- ]effect)",
        r"mass-?like",
        r"(?<!bone )(?<!bony )(?<!osseous )(?<!lytic )(?<!blastic )(?<!sclerotic )(?<!skin )(?<!skeletal"
        r" )\blesions?\b",
        r"tumors?\b",
        r"granulomas?\b",
        r"granulomata",
        r"neoplas\w+",
        r"carcinomas?",
        r"malignan(?:cy|cies)",
        r"metasta(?:sis|ses|tic disease)",
        r"cavitary (?:\w+ )?lesions?",
        r"(?<!pleural )(?<!abdominal )(?<!thoracic )cavit(?:y|ies)\b",
    ),
    "Edema": _any(
        r"(?<!soft tissue )(?<!subcutaneous )(?<!periorbital )(?<!peripheral )(?<!leg )(?<!ankle )edema\b",
        r"(?:vascular|venous|pulmonary|vasculature|hilar|interstitial"
        r"|circulatory) (?:and interstitial )?congestion",
        r"congestion of the (?:pulmonary )?(?:vascul\w+|vessels)",
        r"(?:congested|engorged) (?:pulmonary |hilar |central )*(?:vascul\w+|vessels|veins)",
        r"vascular (?:engorgement|redistribution|indistinctness|cephalization)",
        r"cephalization",
        r"congestive (?:(?:heart|cardiac) )?failure",
        r"(?:heart|cardiac|ventricular) failure(?! clinic)",
        r"\bchf\b",
        r"congestive (?:change\w*|pattern)",
        r"fluid overload",
        r"volume overload",
        r"hypervolemia",
        r"kerley\b",
    ),
    "Consolidation": _any(
        r"consolidat(?:ions?|ive)\b",
        r"consolidated (?:lung|lobe|lower|upper|middle|left|right)",
        r"(?:is|are|appears?|remains?) consolidated",
        r"air[- ]?bronchograms?",
    ),
    "Pneumonia": _any(
        r"(?:broncho|pleuro)?-?pneumonias?\b(?! vaccin)",
        r"\bpneumonic",
        r"infectious (?:process|etiology|infiltrate|focus|consolidation)",
        r"(?<!line )(?<!tract )(?<!granulomatous )infections?\b",
        r"superinfection",
    ),
    "Atelectasis": _any(
        r"atele(?:c|k)ta\w+",
        r"atelectsis",
        r"(?<!vertebral )(?<!body )\bcollapse(?:d)?\b(?! of the (?:vertebra|t\d|l\d))",
    ),
    "Pneumothorax": _any(
        r"(?:hydro|hemo|pyo)?-?pneumo-?thora(?:x|ces|cies)",
        r"\bptx\b",
        r"pnuemothorax",
        r"pneumothroax",
        r"pneumothorx",
    ),
    "Pleural Effusion": _any(
        r"(?<!pericardial )(?<!joint )\beffusions?\b",
        r"pleural (?:fluid|collections?)",
        r"hemothora(?:x|ces)",
        r"(?:hydro|hemo)-?pneumothora(?:x|ces)",
        r"hydrothora(?:x|ces)",
        r"empyemas?",
        r"fluid (?:\w+ ){0,2}(?:in|within|along) the (?:\w+ )*fissure",
        r"fissural fluid",
        r"pleural-?based fluid",
        r"fluid (?:\w+ ){0,3}pleural spaces?",
    ),
    "Pleural Other": _any(
        r"(?:pleura(?:l|e)?|pleuro-?parenchymal"
        r"|pleural-parenchymal) (?:and \w+ )?(?:-?based )?(?:\w+ )??(?:thickening|scar(?:s|ring)?|plaques?"
        r"|calcifications?|fibrosis|caps?|disease|abnormalit\w+|lesions?|mass(?:es)?)",
        r"fibro-?thorax",
        r"(?:scarring|thickening|calcification|plaques?) (?:of|along|at) the (?:\w+ )*pleura",
        r"calcified (?:\w+ )?pleura\w*",
        r"apical (?:thickening|caps?)",
    ),
    "Fracture": _any(
        r"fractures?\b(?! of the (?:\w+ ){0,3}(?:wire|lead|catheter|screw|electrode))",
        r"fractured (?=\w*ribs?|\w+ ribs?|clavicle|humer|sternum|vertebra|scapula|bone)",
        r"(?:rib|clavic\w+|humer\w+|vertebra\w*|sternum|scapula) (?:is|are|appears?) fractured",
        r"\bfxs?\b",
        r"(?:osseous|bony|skeletal) (?:injury|injuries|trauma)",
        r"compression deformit\w+",
    ),
    "Support Devices": _any(
        r"pace-?makers?",
        r"\bpacers?\b",
        r"\baicds?\b",
        r"\bicds?\b",
        r"defibrillators?",
        r"(?:pacing|pacer|ventricular|atrial|icd) (?:leads?|wires?)",
        r"\bett\b",
        r"\bngts?\b",
        r"\bogts?\b",
        r"\bpiccs?\b",
        r"\bcvcs?\b",
        r"\bcvls?\b",
        r"(?<!x-ray )\btubes?\b(?! (?:angulation|distance|current|voltage))",
        r"\btubing\b",
        r"catheters?",
        r"port-?a-?cath\w*",
        r"medi-?ports?",
        r"chest ports?\b",
        r"infusion ports?\b",
        r"\bport (?=tip|catheter|reservoir)",
        r"(?:central|venous|picc|arterial|subclavian|jugular|\bij|dialysis|femoral|swan-ganz|hickman"
        r"|picc) (?:venous )?(?:access )?lines?\b(?! (?:attempt|insertion attempt))",
        r"\blines? (?:tips?|and tubes?|terminates?|ends?|in place)",
        r"(?:tubes? and|support) lines?",
        r"swan-?\s?ganz",
        r"tracheostom\w+",
        r"\bdobb?-?hoff\w*",
        r"\bstents?\b",
        r"\bstent-?grafts?",
        r"\bclips?\b",
        r"\bstaples?\b",
        r"(?:sternotomy|sternal|cerclage) (?:wires?|sutures?)",
        r"\bwires?\b",
        r"(?:valve|valvular|aortic|mitral) (?:valve )?(?:prosthes[ie]s|replacements?)",
        r"prosthe(?:sis|ses|tic)(?: \w+)?",
        r"balloon pump",
        r"\biabp\b",
        r"\blvads?\b",
        r"\becmo\b",
        r"impella",
        r"(?:ventricular )?assist devices?",
        r"\bdrains?\b",
        r"pig-?tails?",
        r"loop recorder",
        r"event recorder",
        r"\bhardware\b",
        r"(?:monitoring|support|medical|indwelling) (?:devices?|apparatus|lines?)",
        r"(?:ivc|vena cava|caval) filters?",
        r"\bscrews?\b",
        r"fixation (?:plates?|rods?)",
        r"spinal rods?",
        r"\bshunts?\b",
        r"stimulators?",
        r"electrodes?",
        r"\bcannulas?\b",
        r"\bintubated\b",
        r"\bleads?\b(?! to)",
        r"\bdevices?\b",
        r"\banchors?\b",
    ),
}
"""What names each observation. A match says nothing of whether it is there."""

HEART = _any(
    r"(?:the )?(?:cardiothoracic ratio|heart(?! failure)(?: size| and pericardium| shadow)?|cardiac (?:size"
    r"|silhouette|shadow|contours?|outline)|cardiopericardial silhouette|size of the heart"
    r"|size of the cardiac silhouette)",
)
MEDIASTINUM = _any(
    r"(?:the )?(?:(?:superior |upper )?mediastin(?:um|al)(?: and hilar)?(?: (?:silhouettes?|contours?|structures"
    r"|width|shadow|borders?))?|hilar and mediastinal (?:silhouettes?|contours?|structures))",
)
CARDIOMEDIASTINUM = _any(
    r"(?:the )?(?:cardio-?mediastin(?:um|al)(?: and hilar)?(?: (?:silhouettes?|contours?|structures|borders?"
    r"|outline))?|(?:heart|cardiac)(?: size)?(?:,| and|, hilar and"
    r"|, hila,? and) (?:the )?(?:hilar and )?mediastin(?:um|al)(?: (?:silhouettes?|contours?|structures"
    r"|borders?))?|mediastin(?:al|um) and (?:cardiac|heart)(?: (?:silhouettes?|contours?|size))?)",
)
NORMAL = _any(
    r"(?:not (?:\w+ )?(?:enlarged|widened|dilated)|within normal(?: limits)?|(?<!not )normal(?!i[sz])"
    r"|unremarkable|top[- ]normal|upper limits? of normal|upper normal|\bwnl\b|not prominent)",
)
ENLARGED = r"(?:enlarged?|large|widened|wide|widening|big|enlargement|dilated|prominent|increased in size)"
BORDERLINE = r"(?:borderline(?: enlargement| prominence)?)"
CLEAR_LUNGS = _any(
    r"(?:lungs?|lung (?:fields|volumes|parenchyma|bases)|pulmonary parenchyma)(?: \w+){0,3}? (?:is|are|remains?"
    r"|appears?|look) (?:otherwise |grossly |essentially |well[- ](?:aerated|expanded|inflated) and |both "
    r"|now )*clear(?:ed)?\b(?! of)",
    r"\bclear lungs?\b",
    r"\blungs? clear\b",
    r"^(?:lungs? ?[:-]|lungs,) ?clear\b",
)
BLUNTED = _any(
    r"blunt\w*(?: \w+){0,5}? (?:costo-?phrenic|cp|sulc\w+)",
    r"(?:costo-?phrenic|cp) (?:angles?|sulc\w+)(?: \w+){0,4}? blunt\w*",
)

EXTUBATED = r"\bextubat(?:ed|ions?)\b"
"""What says that a device is gone without naming it."""
SUCH_ONE = r"\b(?:an?|another) (?:[\w-]+ ){0,2}(?P<one>one)\b(?! (?:of|more|or))"
"""What stands for the observation that is named before it: `but a small one cannot be excluded`."""

PSEUDO = _any(
    r"no (?:\w+ ){0,2}?(?:change|changes|increase|enlargement|progression|worsening|improvement|difference"
    r"|decrease|interval change)(?: (?:in|of|to|from|since|with|for))?",
    r"without (?:\w+ ){0,2}?(?:change|increase|progression|worsening|improvement)(?: (?:in|of|to|from|since))?",
    r"not (?:\w+ )?(?:changed|increased|worsened|improved|progressed|significantly different|only|just|simply"
    r"|larger|worse)",
    r"no (?:larger|bigger|worse|better)\b",
    r"not (?:as|so) \w+ as",
    r"no doubt",
    r"not unexpected\w*",
    r"no longer than",
    r"absence of change in",
    r"no question (?:of|that)",
    r"not (?:\w+ )?(?:free|clear) of",
    r"(?:has|have) not (?:\w+ )?(?:resolved|cleared)",
    r"no (?:\w+ ){0,2}resolution of",
    r"no more than",
)
"""What holds a word of denial and denies nothing."""

DENIED_BEFORE = _any(
    r"\bno(?:ne|thing)?\b(?: (?:evidence|sign|signs|suggestion|indication|convincing|definite|radiographic"
    r"|features?)(?: \w+){0,2}? (?:of|for))?",
    r"\bwithout\b",
    r"\bnor\b",
    r"\bneither\b",
    r"absence of",
    r"absent",
    r"free of",
    r"clear of",
    r"negative for",
    r"resolution of",
    r"resolved",
    r"clearance of",
    r"clearing of",
    r"rather than",
    r"instead of",
    r"fails? to (?:show|demonstrate|reveal)",
    r"do(?:es)? not (?:\w+ )?(?:show|demonstrate|reveal|have|suggest|see|identify|appear)",
    r"not (?:\w+ )?(?:have|see|seen|identify|show|demonstrate|suggestive|consistent with|suspicious for|appear)",
    r"\bnot\b(?! (?:excluded|be excluded|exclude))",
    r"lack of",
    r"lacks",
    r"devoid of",
    r"rules? out (?=the possibility)",
    r"excludes?\b(?<!cannot exclude)(?<!difficult to exclude)(?<!hard to exclude)(?<!impossible to exclude)",
    r"removal of",
    r"interval removal of",
    r"never",
    r"denies",
    r"no longer",
)
DENIED_AFTER = _any(
    r"(?:merely|only|just|represents?) (?:an? )?(?:skin ?fold|artifact|overlap|nipple shadow|shadow)",
    r"no longer \w+s\b",
    r"(?:is|are|was|were|has|have|had|been|being)? ?(?:not|never) (?:\w+ ){0,2}?(?:seen|identified|visuali[sz]ed"
    r"|visible|present|demonstrated|detected|noted|evident|appreciated|found|observed|apparent|suspected|shown"
    r"|suggested|there|recogni[sz]ed)",
    r"no longer (?:\w+ )?(?:seen|present|visible|identified|visuali[sz]ed|evident|apparent|appreciated|there"
    r"|noted|in place)",
    r"(?:has|have|had|is|are|now|since|completely|fully|interval\w*) ?(?:\w+ ){0,2}?(?:resolved|cleared"
    r"|disappeared|re-?absorbed|healed and gone)",
    r"(?<!partial )resolution\b",
    r"(?:is|are|remain\w*) (?:\w+ )?(?:absent|unlikely|negative|excluded|ruled out|gone)",
    r"^ ?[,:] ?(?:no|none|absent|negative)\b",
    r"(?:has|have|had)(?: \w+)?(?: been)? (?!(?:slightly|partially|somewhat) )(?:\w+ )?(?:removed|extubated"
    r"|discontinued|taken out|(?:withdrawn|pulled)"
    r"(?! (?:slightly|partially|somewhat|back|by|to|into|approximately)\b))",
    r"\b(?:removed|extubated|discontinued|taken out|pulled out)\b",
    r"(?:appears?|is|are|remain\w*) (?:\w+ )?(?:within (?:normal )?limits|normal)\b",
    r"\bruled out\b",
    r"\bresolved\b",
    r"\bunlikely\b",
    r"\bexcluded\b(?<!not excluded)(?<!be excluded)",
)
DOUBTED_BEFORE = _any(
    r"\b(?:possibl[ey]|possibility of|conceivabl[ey]|at most|if any|probabl[ey]|likely|may|might|could|perhaps"
    r"|presum\w+|apparent(?=ly)|suspicions?(?: \w+)? (?:for|of)|suspicious for|suspect\w*"
    r"|concern\w*(?: \w+)? (?:for|of|about)|concern|concerning for|worrisome for|worry for|questionabl[ey]"
    r"|question(?: of)?|equivocal|suggest\w*(?: of)?|raises?|cannot (?:\w+ )?(?:exclude|rule out)"
    r"|cannot be certain|(?:difficult|hard|impossible) to (?:exclude|rule out)|not (?:\w+ )?exclude|(?:not"
    r"|without) excluding|rule out|differential(?: \w+){0,3}? (?:includ(?:es?|ing)|of|:)|potential(?:ly)?"
    r"|compatible with either|favor\w*|uncertain|indeterminate|borderline|vs|versus|subtle suggestion of|query"
    r"|(?:could|may|might) (?:be|represent|reflect|indicate))\b",
    r"\?",
)
DOUBTED_AFTER = _any(
    r"^[\w ]{0,25}?\b(?:versus|vs)\b",
    r"^,? ?(?:is |are |remains )?(?:borderline|equivocal|questionable|possible|suspected|if any)\b",
    r"(?:could|may|might) be (?:positional|projectional|artifactual|technical|due to (?:rotation|technique))",
    r"(?:is|are) (?:possibly|questionably|perhaps|probably|likely|conceivably) (?!not)",
    r"(?:cannot|can not|could not|may not|not|difficult to|hard to"
    r"|without) (?:\w+ ){0,2}?(?:be )?(?:\w+ )?(?:excluded?|ruled? out)",
    r"(?:is|are|remains?|also|less|would be|may be|might be|could be|cannot be)(?: \w+)? (?:possible|questionable"
    r"|questioned|suspected|suggested|a possibility|a consideration|another consideration|considered"
    r"|a concern|likely|probable|equivocal|in the differential|uncertain|indeterminate|a question|not certain)",
    r"(?:might|may|could) (?:also )?be (?:\w+ )?(?:present|hidden|missed|overlooked)",
    r"^(?: (?:in|at|of|on|within|along)(?: [\w-]+){1,4}?)? (?:should|must|has to|needs? to) (?:\w+ )?be (?:considered"
    r"|suspected|entertained)",
    r"\bpossible\b$",
    r"(?<!not )\bsuspected\b",
    r"\bnot excluded\b",
    r"\?",
)
DATED = _any(
    r"history of",
    r"\bhx of\b",
    r"prior (?:history|episode|episodes) of",
    r"previous(?:ly)? (?:treated|known|documented|resected)",
    r"status post(?: \w+){0,3}? for",
    r"treated for",
    r"\bhad (?:a |an )?(?:prior|previous)",
    r"personal history",
    r"past (?:medical )?history",
    r"\bindication\b",
    r"clinical (?:concern|suspicion|question)",
    r"correlat\w+ (?:\w+ ){0,3}?(?:for|as to)",
    r"referred (?:for|with)",
    r"presents? with",
    r"evaluat(?:e|ion|ing)(?: \w+)? for",
    r"assess(?:ment)?(?: \w+)? for",
    r"(?<!difficult )(?<!hard )(?<!impossible )(?<!unable )to (?:exclude|rule out|look for|evaluate|assess|confirm"
    r"|document)",
    r"\bif (?:there is |clinical\w*|concern|suspicion|symptoms|further|(?:the |any |an? )?(?:\w+ )?$)",
    r"should (?:\w+ )?(?:develop|occur)",
    r"monitor(?:ing)? for",
    r"screening for",
    r"(?:follow-?up|ct|recommend\w*|advised?)(?: \w+){0,6}? (?:for|to (?:exclude|assess|ensure|confirm|evaluate"
    r"|document))(?: \w+)? (?:resolution of)?",
    r"work-?up (?:of|for)",
    r"risk of",
    r"(?:in)?sensitiv\w+ (?:\w+ ){0,3}?(?:to|for|in)\b",
    r"prophylaxis",
    r"known history",
    r"family history",
)
"""What says that an observation is past, asked for or feared, not seen now."""
DATED_AFTER = _any(
    r"(?:was|were) (?:\w+ )?(?:seen|present|noted|visible) (?:on|in) (?:the )?(?:prior|previous|earlier"
    r"|old)(?! .*(?:persist|remain|unchanged))",
)

ENDS = _any(
    r"\b(?:patient|man|woman|male|female) with\b",
    r"\bleaving\b",
    r"\bbut\b",
    r"\bhowever\b",
    r"\balthough\b",
    r"\bthough\b",
    r"\bexcept(?:ing)?\b(?: for)?",
    r"\bapart from\b",
    r"\baside from\b",
    r"\bother than\b",
    r"\bbesides\b",
    r"\bbeyond\b",
    r"\byet\b",
    r"\bwhile\b",
    r"\bwhereas\b",
    r"\bwhich\b",
    r"\bbecause\b",
    r"\bnevertheless\b",
    r"\binstead\b(?! of)",
    r"\bthere (?:is|are|has been|remains?|was|were)\b",
    r"\bdespite\b",
    r"\bin addition to\b",
    r"\bnow (?:with|has|shows)\b",
    r"\bafter\b",
    r"\bfollowing\b",
    r"\bsuperimposed on\b",
    r"\bin the setting of\b",
    r";",
    r"\band (?:there|the|a|an|now|is|has)\b",
)
"""Where a denial or a doubt ends."""
AFFIRMED = _any(
    r"(?:a |an |another |the |there |tiny |trace |small |smaller |moderate|large |larger |mild |minimal |severe "
    r"|stable |unchanged |persist|increas|decreas|new |improv|worsen|known |old |chronic |right |left |bilateral |low "
    r"|resolving|residual|again |now |slight|calcified |left-sided |right-sided |status |patient )",
)
"""How a new, affirmed finding begins after a comma or `and`."""
STRONG_ENDS = r"\bbut\b|\bhowever\b|\bnow\b|;|\bthere (?:is|are) (?!\w* ?(?:concern|suspicion))"
"""Where what is said of the past or asked for ends."""
CAUSES = r"\bdue to\b|\bsecondary to\b|\bfrom\b"
"""Where a denial ends too, but no doubt: `could be due to edema`."""

SHORT_SECTIONS = r"comparisons?|techniques?|exam(?:ination)?s?|procedures?|views?|study|type of study"
"""Sections of one sentence, where no other section follows."""
SILENT_SECTIONS = _any(
    r"indications?",
    r"order(?: comment)?",
    r"(?:clinical |patient )?history",
    r"clinical (?:information|indication|data|context|question|details|statement)",
    r"reason(?: for (?:the )?(?:exam\w*|study|request))?",
    r"comparisons?",
    r"techniques?",
    r"exam(?:ination)?s?",
    r"procedures?",
    r"views?",
    r"notification",
    r"recommendations?",
    r"study",
    r"type of study",
    r"request",
)
SPOKEN_SECTIONS = _any(
    r"findings?",
    r"impressions?",
    r"conclusions?",
    r"opinions?",
    r"interpretations?",
    r"reports?",
    r"summary",
    r"assessment",
    r"findings and impression",
    r"findings/impression",
    r"result",
    r"results",
    r"wet read",
    r"addendum",
)

TERMS = (
    "atelectasis",
    "cardiomegaly",
    "consolidation",
    "effusion",
    "effusions",
    "enlargement",
    "fracture",
    "fractures",
    "granuloma",
    "infiltrate",
    "infiltrates",
    "mediastinal",
    "mediastinum",
    "opacities",
    "opacity",
    "pneumonia",
    "pneumothorax",
    "possible",
    "silhouette",
    "thickening",
    "unremarkable",
    "widening",
)
"""Words that a slip of the pen is mended to."""
NO_SLIPS = frozenset(
    (
        *("capacities", "consideration", "considerations", "fractured", "impossible", "infiltrated", "infiltration"),
        *("mediastinitis", "opacified", "possibly", "remarkable"),
    )
)
"""Words that resemble one of these, and are right."""
COMMON_WORDS = frozenset(
    (
        *("the", "are", "of", "and", "with", "not", "there", "has", "have", "was", "were", "which", "from", "than"),
        *("seen", "within", "without", "normal", "clear", "unchanged", "stable", "right", "left", "bilateral", "lower"),
        *("upper", "lobe", "lung", "lungs", "heart", "chest", "size", "evidence", "compared", "acute", "disease"),
        *(
            "cardiopulmonary",
            "abnormality",
            "finding",
            "findings",
            "unremarkable",
            "active",
            "process",
            "small",
            "large",
        ),
    )
)
"""Of which nearly every report in English holds one."""
RARE_WORDS = frozenset(
    (
        *("above", "again", "airspace", "aortic", "appear", "appears", "arthritic", "atherosclerosis"),
        *("atherosclerotic", "before", "bony", "calcified", "change", "changes", "clinically", "correlate"),
        *("emphysema", "emphysematous", "enlarged", "exam", "hyperinflated", "identified"),
        *("kyphosis", "likely", "limited", "midline", "mildly", "noted", "osseous", "please", "previously"),
        *("scarring", "scoliosis", "spine", "sternotomy", "this", "thoracic"),
        *("tissue", "tortuous", "visualized"),
    )
)
"""Other words that are spelled so in English alone; a sentence that stands alone may hold no more of English."""
FRAGMENTS = frozenset({"negative", "copd", "hyperinflation", "none"})
"""Which are a whole report in English, though other languages have them too."""
FOREIGN_WORDS = frozenset(
    (
        *("aucun", "aucune", "avec", "poumon", "poumons", "droite", "gauche"),
        *("el", "los", "las", "del", "una", "con", "sin", "und", "kein", "keine", "nicht", "ohne", "mit", "der", "das"),
        *(
            "pas",
            "les",
            "des",
            "une",
            "sans",
            "dans",
            "il",
            "della",
            "senza",
            "sem",
            "uma",
            "geen",
            "niet",
            "het",
            "een",
        ),
        *("ingen", "inga", "inget", "ikke", "och", "uten", "uden", "utan", "venstre", "vänster"),
        *("brak", "bez", "cech", "prawa", "lewa", "não", "esquerda", "direita", "nessun", "nessuna", "destro"),
        *("sinistro", "rechts", "links", "droit", "derecho", "izquierdo", "nincs", "yok"),
    )
)
"""Of which nearly every report in the commonest other languages of Europe holds one."""
FOREIGN_FORMS = r"\b(?:[dlnDLN]['’](?=[a-zà-ÿ])|[Dd]e (?!novo\b)(?=[a-zà-ÿ]))"
"""The same in French and Spanish, where a word alone would not tell; names such as D'Angelo are none."""
