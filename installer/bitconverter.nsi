; The Windows installer: for one user, without administrator rights, English and Japanese.
;
; makensis -DVERSION=0.1.0 -DFILES=folder/* -DOUT=setup.exe -DICON=x.ico [-DCOMPRESS=off] bitconverter.nsi
; (FILES with the slash of the system: makensis on Windows splits at a backslash alone)
;
; /S installs or removes silently, /D=C:\folder chooses the place (last word, no quotes), /NODESKTOP leaves the
; desktop alone. An upgrade goes where the program is; with another place the program moves there. Shortcut and file
; types stay as the user has them. The uninstaller keeps settings, chats and logs unless its box is ticked, or with
; /REMOVEDATA.
; Exit codes: 0 done, 3 Windows too old or not 64 bit, 5 the program is running, 6 files could not be written, 7 the
; folder holds what is not ours.

Unicode true
Target amd64-unicode
!define NAME "BitConverter"
!define EXE "BitConverter.exe"
!define CLI "bitconverter-cli.exe"
!define KEY "Software\${NAME}"
!define UNINSTALL_KEY "Software\Microsoft\Windows\CurrentVersion\Uninstall\${NAME}"
!define DATA "$LOCALAPPDATA\${NAME}"
!define OLDEST_BUILD 17763 ; Windows 10 1809, the oldest that Qt 6.9 supports

!include MUI2.nsh
!include FileFunc.nsh
!include LogicLib.nsh
!include Sections.nsh
!include WinVer.nsh
!include x64.nsh

Name "${NAME}"
OutFile "${OUT}"
RequestExecutionLevel user
InstallDir "$LOCALAPPDATA\Programs\${NAME}"
InstallDirRegKey HKCU "${KEY}" "InstallDir"
ManifestDPIAware true
!if "${COMPRESS}" == "off"
  SetCompress off
!else
  SetCompressor /SOLID lzma
  SetCompressorDictSize 64
!endif
BrandingText "${NAME} ${VERSION}"

VIProductVersion "${VERSION}.0"
!macro VersionWords LANG DESCRIPTION
  VIAddVersionKey /LANG=${LANG} "ProductName" "${NAME}"
  VIAddVersionKey /LANG=${LANG} "ProductVersion" "${VERSION}"
  VIAddVersionKey /LANG=${LANG} "FileVersion" "${VERSION}"
  VIAddVersionKey /LANG=${LANG} "FileDescription" "${DESCRIPTION}"
  VIAddVersionKey /LANG=${LANG} "CompanyName" "BitConverter contributors"
  VIAddVersionKey /LANG=${LANG} "LegalCopyright" "MIT License"
!macroend

!define MUI_ICON "${ICON}"
!define MUI_UNICON "${ICON}"
!define MUI_ABORTWARNING
!define MUI_LANGDLL_REGISTRY_ROOT HKCU
!define MUI_LANGDLL_REGISTRY_KEY "${KEY}"
!define MUI_LANGDLL_REGISTRY_VALUENAME "Language"
!define MUI_FINISHPAGE_RUN "$INSTDIR\${EXE}"
!insertmacro MUI_PAGE_WELCOME
!define MUI_PAGE_CUSTOMFUNCTION_LEAVE LeaveDirectory
!insertmacro MUI_PAGE_DIRECTORY
!insertmacro MUI_PAGE_COMPONENTS
!insertmacro MUI_PAGE_INSTFILES
!insertmacro MUI_PAGE_FINISH
!insertmacro MUI_UNPAGE_CONFIRM
!insertmacro MUI_UNPAGE_COMPONENTS
!insertmacro MUI_UNPAGE_INSTFILES
!insertmacro MUI_LANGUAGE "English"
!insertmacro MUI_LANGUAGE "Japanese"
!insertmacro MUI_RESERVEFILE_LANGDLL
!insertmacro VersionWords ${LANG_ENGLISH} "${NAME} installer"
!insertmacro VersionWords ${LANG_JAPANESE} "${NAME} インストーラー"

!macro Words ID ENGLISH JAPANESE
  LangString ${ID} ${LANG_ENGLISH} "${ENGLISH}"
  LangString ${ID} ${LANG_JAPANESE} "${JAPANESE}"
!macroend
!insertmacro Words PROGRAM "${NAME}" "${NAME} 本体"
!insertmacro Words DESKTOP "Shortcut on the desktop" "デスクトップにショートカットを作る"
!insertmacro Words FILE_TYPES "Open .soul and .u32 files with ${NAME}" ".soul と .u32 のファイルを ${NAME} で開く"
!insertmacro Words SOUL "${NAME} soul" "${NAME} ソウル"
!insertmacro Words PACK "${NAME} prepared lesson" "${NAME} 準備済み教材"
!insertmacro Words REMOVE_PROGRAM "Remove ${NAME}" "${NAME} を削除"
!insertmacro Words REMOVE_DATA "Also remove settings, chats and logs" "設定・会話・ログも削除"
!insertmacro Words RUNNING \
  "${NAME} is running. Close it, then start this again. Nothing was changed." \
  "${NAME} が動作中です。${NAME} を終了してから、もう一度実行してください。まだ何も変更していません。"
!insertmacro Words NOT_WRITTEN \
  "The files could not be written to $INSTDIR. Is there enough space on the disk? The version that was there before is still in place." \
  "$INSTDIR に書き込めませんでした。ディスクの空き容量を確認して、もう一度実行してください。以前のバージョンはそのまま残っています。"
!insertmacro Words TOO_OLD \
  "${NAME} needs 64-bit Windows 10, version 1809, or newer." \
  "${NAME} には 64 ビット版の Windows 10（バージョン 1809）以降が必要です。"
!insertmacro Words OCCUPIED \
  "$INSTDIR holds other files already. Choose an empty folder or a new one. Nothing was changed." \
  "$INSTDIR にはほかのファイルがあります。空のフォルダーか新しいフォルダーを選んでください。まだ何も変更していません。"

; A program file in use cannot be opened for writing.
!macro RefuseWhileRunning FOLDER
  !insertmacro RefuseInUse "${FOLDER}\${EXE}"
  !insertmacro RefuseInUse "${FOLDER}\${CLI}"
!macroend
!macro RefuseInUse FILE
  ${If} ${FileExists} "${FILE}"
    ClearErrors
    FileOpen $0 "${FILE}" a
    ${If} ${Errors}
      MessageBox MB_OK|MB_ICONSTOP "$(RUNNING)" /SD IDOK
      SetErrorLevel 5
      Quit
    ${EndIf}
    FileClose $0
  ${EndIf}
!macroend

; The exchange of the old version for the new one, each step for each of the program's items; $2 is what failed.
!macro ForEachItem STEP
  !insertmacro ${STEP} "_internal"
  !insertmacro ${STEP} "${EXE}"
  !insertmacro ${STEP} "${CLI}"
  !insertmacro ${STEP} "uninstall.exe"
!macroend
!macro SetAside ITEM
  ${If} $2 == ""
  ${AndIf} ${FileExists} "$INSTDIR\${ITEM}"
    !insertmacro MoveItem "$INSTDIR\${ITEM}" "$INSTDIR\~old\${ITEM}"
  ${EndIf}
!macroend
!macro PutInPlace ITEM
  ${If} $2 == ""
    !insertmacro MoveItem "$INSTDIR\~new\${ITEM}" "$INSTDIR\${ITEM}"
  ${EndIf}
!macroend
!macro MoveItem FROM TO
  ClearErrors
  Rename "${FROM}" "${TO}"
  ${If} ${Errors}
    StrCpy $2 "${FROM}"
  ${EndIf}
!macroend
!macro TakeAway ITEM
  RMDir /r "$INSTDIR\${ITEM}"
  Delete "$INSTDIR\${ITEM}"
!macroend
!macro TakeAwayOld ITEM
  RMDir /r "$Old\${ITEM}"
  Delete "$Old\${ITEM}"
!macroend
!macro ForgetUnfinished
  DeleteRegValue HKCU "${KEY}" "Unfinished"
  DeleteRegKey /ifempty HKCU "${KEY}"
!macroend
; Also when an installation begins: the PC may have gone off between two steps of the one before.
!macro PutBack ITEM
  ${If} ${FileExists} "$INSTDIR\~old\${ITEM}"
  ${AndIfNot} ${FileExists} "$INSTDIR\${ITEM}"
    Rename "$INSTDIR\~old\${ITEM}" "$INSTDIR\${ITEM}"
  ${EndIf}
!macroend

; The extension gets our type, unless another program owns it: then we are only offered under "Open with".
!macro Associate EXTENSION TYPE WORDS
  ReadRegStr $0 HKCU "Software\Classes\${EXTENSION}" ""
  ${If} $0 == ""
    ReadRegStr $0 HKLM "Software\Classes\${EXTENSION}" "" ; for all users
  ${EndIf}
  ${If} $0 == ""
    WriteRegStr HKCU "Software\Classes\${EXTENSION}" "" "${TYPE}"
  ${EndIf}
  WriteRegStr HKCU "Software\Classes\${EXTENSION}\OpenWithProgids" "${TYPE}" ""
  WriteRegStr HKCU "Software\Classes\${TYPE}" "" "${WORDS}"
  WriteRegStr HKCU "Software\Classes\${TYPE}\DefaultIcon" "" "$INSTDIR\${EXE},0"
  WriteRegStr HKCU "Software\Classes\${TYPE}\shell\open\command" "" '"$INSTDIR\${EXE}" --open "%1"'
!macroend
!macro Dissociate EXTENSION TYPE
  ReadRegStr $0 HKCU "Software\Classes\${EXTENSION}" ""
  ${If} $0 == "${TYPE}"
    DeleteRegValue HKCU "Software\Classes\${EXTENSION}" ""
  ${EndIf}
  DeleteRegValue HKCU "Software\Classes\${EXTENSION}\OpenWithProgids" "${TYPE}"
  DeleteRegKey /ifempty HKCU "Software\Classes\${EXTENSION}\OpenWithProgids"
  DeleteRegKey /ifempty HKCU "Software\Classes\${EXTENSION}"
  DeleteRegKey HKCU "Software\Classes\${TYPE}"
!macroend
!macro TellExplorer
  System::Call 'shell32::SHChangeNotify(i 0x08000000, i 0, p 0, p 0)' ; SHCNE_ASSOCCHANGED
!macroend

Var Old ; the folder of the program when it is to move from there to $INSTDIR, else ""

; $R0: whether the folder $R1 holds the program, also when the PC went off in the middle of installing it. (yes, no)
Function IsOurs
  StrCpy $R0 yes
  ReadRegStr $R2 HKCU "${KEY}" "Unfinished"
  ${If} $R1 == $R2
  ${OrIf} ${FileExists} "$R1\_internal\bitconverter\*.*"
  ${OrIf} ${FileExists} "$R1\~old\_internal\bitconverter\*.*"
    Return
  ${EndIf}
  StrCpy $R0 no
FunctionEnd

; $R1: the folder of the program, as the registry knows it and if it is there; else "".
Function FindProgram
  ReadRegStr $R1 HKCU "${KEY}" "InstallDir"
  ${If} $R1 == ""
    ReadRegStr $R1 HKCU "${KEY}" "Unfinished"
  ${EndIf}
  ${If} $R1 != ""
    Call IsOurs
    ${If} $R0 == no
      StrCpy $R1 ""
    ${EndIf}
  ${EndIf}
FunctionEnd

Function FindOld
  StrCpy $Old ""
  Call FindProgram
  ${If} $R1 == ""
  ${OrIf} $R1 == $INSTDIR
    Return
  ${EndIf}
  ; One folder can have two names: a file made under one of them is then seen under the other.
  ${If} ${FileExists} "$INSTDIR\*.*"
    ClearErrors
    GetTempFileName $R2 "$INSTDIR"
    ${If} ${Errors}
      Return
    ${EndIf}
    ${GetFileName} "$R2" $R3
    ${If} ${FileExists} "$R1\$R3"
      Delete "$R2"
      Return
    ${EndIf}
    Delete "$R2"
  ${EndIf}
  StrCpy $Old $R1
FunctionEnd

!macro NotInside FOLDER
  StrLen $R2 "${FOLDER}\"
  StrCpy $R3 "$INSTDIR\" $R2
  ${If} $R3 == "${FOLDER}\"
    StrCpy $R0 no
  ${EndIf}
!macroend
!macro NotThere ITEM
  ${If} ${FileExists} "$INSTDIR\${ITEM}"
    StrCpy $R0 no
  ${EndIf}
!macroend

; $R0: whether the program may be put into $INSTDIR: what is there under the names of its files is taken away. (yes, no)
Function LookAtPlace
  StrCpy $R0 yes
  !insertmacro NotInside "${DATA}"
  ${If} $Old != ""
    !insertmacro NotInside "$Old\_internal"
    !insertmacro NotInside "$Old\~new"
    !insertmacro NotInside "$Old\~old"
  ${EndIf}
  ${If} $R0 == no
    Return
  ${EndIf}
  StrCpy $R1 $INSTDIR
  Call IsOurs
  ${If} $R0 == yes
    Return
  ${EndIf}
  StrCpy $R0 yes
  ${GetFileName} "$INSTDIR" $R2
  ${If} $R2 == "${NAME}" ; the user may have files there, which the uninstaller leaves
    !insertmacro ForEachItem NotThere
    !insertmacro NotThere "~new"
    !insertmacro NotThere "~old"
    Return
  ${EndIf}
  ClearErrors
  FindFirst $R2 $R3 "$INSTDIR\*.*"
  ${DoUntil} ${Errors}
    ${If} $R3 != "."
    ${AndIf} $R3 != ".."
      StrCpy $R0 no
    ${EndIf}
    FindNext $R2 $R3
  ${Loop}
  FindClose $R2
FunctionEnd

Function LeaveDirectory
  Call FindOld
  Call LookAtPlace
  ${If} $R0 == no
    MessageBox MB_OK|MB_ICONSTOP "$(OCCUPIED)"
    Abort
  ${EndIf}
FunctionEnd

; The disk was full in the middle of a file: NSIS itself ends the installation.
Function .onInstFailed
  SetOutPath "$TEMP"
  RMDir /r "$INSTDIR\~new"
  RMDir "$INSTDIR"
  !insertmacro ForgetUnfinished
  SetErrorLevel 6
FunctionEnd

Section "$(PROGRAM)" SectionProgram
  SectionIn RO
  Call FindOld
  Call LookAtPlace
  ${If} $R0 == no
    MessageBox MB_OK|MB_ICONSTOP "$(OCCUPIED)" /SD IDOK
    SetErrorLevel 7
    Quit
  ${EndIf}
  !insertmacro RefuseWhileRunning "$INSTDIR"
  ${If} $Old != ""
    !insertmacro RefuseWhileRunning "$Old"
  ${EndIf}
  WriteRegStr HKCU "${KEY}" "Unfinished" "$INSTDIR" ; if the PC goes off now, the next installation knows the folder
  ; All of the new version first, then the exchange: a full disk leaves the old version whole.
  !insertmacro ForEachItem PutBack
  RMDir /r "$INSTDIR\~new"
  RMDir /r "$INSTDIR\~old"
  StrCpy $2 ""
  ClearErrors
  SetOutPath "$INSTDIR\~new"
  File /r "${FILES}"
  WriteUninstaller "$INSTDIR\~new\uninstall.exe"
  SetOutPath "$INSTDIR"
  CreateDirectory "$INSTDIR\~old"
  ${If} ${Errors}
    StrCpy $2 "not written"
  ${EndIf}
  !insertmacro ForEachItem SetAside
  StrCpy $3 $2 ; what failed before anything of the new version was in place
  !insertmacro ForEachItem PutInPlace
  ${If} $2 != ""
    ${If} $3 == ""
      !insertmacro ForEachItem TakeAway
    ${EndIf}
    !insertmacro ForEachItem PutBack
    SetOutPath "$TEMP"
    RMDir /r "$INSTDIR\~new"
    RMDir "$INSTDIR\~old" ; not what could not be put back
    RMDir "$INSTDIR" ; a first installation leaves nothing
    !insertmacro ForgetUnfinished
    MessageBox MB_OK|MB_ICONSTOP "$(NOT_WRITTEN)" /SD IDOK
    SetErrorLevel 6
    Quit
  ${EndIf}
  RMDir /r "$INSTDIR\~new"
  RMDir /r "$INSTDIR\~old"

  WriteRegStr HKCU "${KEY}" "InstallDir" "$INSTDIR"
  !insertmacro ForgetUnfinished
  WriteRegStr HKCU "${UNINSTALL_KEY}" "DisplayName" "${NAME}"
  WriteRegStr HKCU "${UNINSTALL_KEY}" "DisplayVersion" "${VERSION}"
  WriteRegStr HKCU "${UNINSTALL_KEY}" "DisplayIcon" "$INSTDIR\${EXE}"
  WriteRegStr HKCU "${UNINSTALL_KEY}" "Publisher" "BitConverter contributors"
  WriteRegStr HKCU "${UNINSTALL_KEY}" "InstallLocation" "$INSTDIR"
  WriteRegStr HKCU "${UNINSTALL_KEY}" "UninstallString" '"$INSTDIR\uninstall.exe"'
  WriteRegStr HKCU "${UNINSTALL_KEY}" "QuietUninstallString" '"$INSTDIR\uninstall.exe" /S'
  WriteRegDWORD HKCU "${UNINSTALL_KEY}" "NoModify" 1
  WriteRegDWORD HKCU "${UNINSTALL_KEY}" "NoRepair" 1
  ${GetSize} "$INSTDIR" "/S=0K" $0 $1 $2
  IntFmt $0 "0x%08X" $0
  WriteRegDWORD HKCU "${UNINSTALL_KEY}" "EstimatedSize" "$0"
  CreateShortcut "$SMPROGRAMS\${NAME}.lnk" "$INSTDIR\${EXE}"
  ${If} ${FileExists} "$DESKTOP\${NAME}.lnk" ; of before: it may lead to another place
    CreateShortcut "$DESKTOP\${NAME}.lnk" "$INSTDIR\${EXE}"
  ${EndIf}
  ${If} $Old != ""
    !insertmacro ForEachItem TakeAwayOld
    !insertmacro TakeAwayOld "~new"
    !insertmacro TakeAwayOld "~old"
    RMDir "$Old" ; what the user put there stays
  ${EndIf}
SectionEnd

Section "$(DESKTOP)" SectionDesktop
  ${GetParameters} $1
  ClearErrors
  ${GetOptions} $1 "/NODESKTOP" $0
  ${If} ${Errors}
    CreateShortcut "$DESKTOP\${NAME}.lnk" "$INSTDIR\${EXE}"
  ${EndIf}
SectionEnd

Section "$(FILE_TYPES)" SectionFileTypes
  !insertmacro Associate ".soul" "BitConverter.Soul" "$(SOUL)"
  !insertmacro Associate ".u32" "BitConverter.Pack" "$(PACK)"
  !insertmacro TellExplorer
SectionEnd

Function .onInit
  ${IfNot} ${RunningX64}
  ${OrIfNot} ${AtLeastWin10}
  ${OrIfNot} ${AtLeastBuild} ${OLDEST_BUILD}
    MessageBox MB_OK|MB_ICONSTOP "$(TOO_OLD)" /SD IDOK
    SetErrorLevel 3
    Quit
  ${EndIf}
  !insertmacro MUI_LANGDLL_DISPLAY
  Call FindProgram
  ${If} $R1 != "" ; an upgrade: what the user has taken away does not come back by itself
    ${IfNot} ${FileExists} "$DESKTOP\${NAME}.lnk"
      !insertmacro UnselectSection ${SectionDesktop}
    ${EndIf}
    ReadRegStr $0 HKCU "Software\Classes\BitConverter.Soul" ""
    ${If} $0 == ""
      !insertmacro UnselectSection ${SectionFileTypes}
    ${EndIf}
  ${EndIf}
FunctionEnd

Function un.onInit
  !insertmacro MUI_UNGETLANGUAGE
FunctionEnd

Section "un.$(REMOVE_PROGRAM)" SectionRemoveProgram
  SectionIn RO
  !insertmacro RefuseWhileRunning "$INSTDIR"
  RMDir /r "$INSTDIR\_internal"
  RMDir /r "$INSTDIR\~new"
  RMDir /r "$INSTDIR\~old"
  Delete "$INSTDIR\${EXE}"
  Delete "$INSTDIR\${CLI}"
  Delete "$INSTDIR\uninstall.exe"
  RMDir "$INSTDIR" ; what the user put there stays
  Delete "$SMPROGRAMS\${NAME}.lnk"
  Delete "$DESKTOP\${NAME}.lnk"
  !insertmacro Dissociate ".soul" "BitConverter.Soul"
  !insertmacro Dissociate ".u32" "BitConverter.Pack"
  !insertmacro TellExplorer
  DeleteRegKey HKCU "${UNINSTALL_KEY}"
  DeleteRegKey HKCU "${KEY}"
  ${GetParameters} $1
  ClearErrors
  ${GetOptions} $1 "/REMOVEDATA" $0
  ${IfNot} ${Errors}
    RMDir /r "${DATA}"
  ${EndIf}
SectionEnd

Section /o "un.$(REMOVE_DATA)" SectionRemoveData
  RMDir /r "${DATA}"
SectionEnd
